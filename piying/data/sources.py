"""What is in a folder of footage: media, and what is written about them, in the layouts that people already have.

    metadata.jsonl                 a line of JSON for each file
    a .csv                         a row for each file, under a line of names
    prompts.txt and videos.txt     a line each, in the same order
    x.mp4 and x.txt                a text beside each file, or in labels/ for files in videos/

Where one of the first three is there, it says which files count.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from piying.data import sidecars
from piying.data.sidecars import Caption
from piying.errors import PiyingError, UsageError

_FILE = ("file_name", "media", "video", "image", "video_path", "image_path", "file", "path", "filename")
_TEXT = ("caption", "captions", "text", "prompt")
_TEXTS = {".txt", ".caption", ".csv", ".tsv", ".json", ".jsonl", ".srt", ".ass", ".ssa", ".vtt", ".lrc", ".nfo", ".md"}
_OTHERS = {".html", ".yaml", ".yml", ".toml", ".py", ".log", ".pdf", ".zip", ".safetensors", ".pt", ".npy", ".parquet"}


@dataclass(frozen=True)
class Source:
    path: Path
    episode: str
    captions: tuple[Caption, ...]


@dataclass
class Survey:
    """What was found, and what a person should know about it."""

    sources: list[Source] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def survey(footage: Path, besides: Path) -> Survey:
    """The media of a folder, or one file; what lies in the folder `besides` does not count.

    Raises UsageError where there is nothing, or where a list cannot be meant.
    """
    if footage.is_file():
        found = Survey()
        around = {path for path in footage.parent.iterdir() if _is_medium(path.name) and path.is_file()}
        texts = sidecars.beside({footage, *around})[footage]
        found.sources.append(_told(footage, texts, footage.parent, found))
        return found
    if not footage.is_dir():
        raise UsageError(f"{footage}: no such folder; name the folder or the file of your footage")
    found = Survey()
    media = list(_media(footage, besides.resolve()))
    for read in (_metadata, _tables, _pairs):
        if (rows := read(footage, found)) is not None:
            _listed(rows, media, footage, found)
            break
    else:
        found.sources += [_told(path, texts, footage, found) for path, texts in sidecars.beside(media).items()]
    if not found.sources:
        raise UsageError(f"{footage}: holds no videos or images; name the folder of your footage")
    return found


def _media(footage: Path, besides: Path) -> Iterator[Path]:
    """Every file that may be a video or an image, in order."""
    for folder, folders, files in os.walk(footage):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (here / name).resolve() != besides)
        yield from (here / name for name in sorted(files) if _is_medium(name))


def _is_medium(name: str) -> bool:
    """Whether a file may be a video or an image; what it is shows when it is opened."""
    return not name.startswith(".") and Path(name).suffix.lower() not in _TEXTS | _OTHERS


def _told(path: Path, texts: Iterable[Path], footage: Path, found: Survey) -> Source:
    """A file with what its texts say."""
    captions: list[Caption] = []
    for text in texts:
        captions += sidecars.captions_in(_read(text, found))
    if path.with_suffix(".srt").is_file():
        found.notes.append(
            f"{path.with_suffix('.srt')}: left out, for subtitles tell what is said and not what is seen;"
            f" write what is seen into {path.stem}.txt"
        )
    return Source(path, _episode(path, footage), tuple(captions))


def _listed(rows: Iterable[Mapping[str, Any]], media: list[Path], footage: Path, found: Survey) -> None:
    """Rows of a list as sources; the captions of a file in several rows come together."""
    captions: dict[Path, list[Caption]] = {}
    episodes: dict[Path, str] = {}
    for row in rows:
        name = next((str(row[key]) for key in _FILE if row.get(key)), "")
        path = (footage / name).resolve()
        if not name or not path.is_file():
            found.notes.append(f"{footage / name}: is on the list, but not there" if name else f"{row}: names no file")
            continue
        said: Any = next((row[key] for key in _TEXT if row.get(key)), [])
        texts: list[Any] = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        times = [float(row[key]) for key in ("start", "end") if row.get(key) not in (None, "")]
        stretch = times if len(times) == 2 else []
        captions.setdefault(path, []).extend(Caption(" ".join(str(text).split()), *stretch) for text in texts)
        episodes[path] = str(row.get("episode") or _episode(path, footage))
    found.sources += [Source(path, episodes[path], tuple(said)) for path, said in captions.items()]
    if unlisted := [path for path in media if path.resolve() not in captions]:
        found.notes.append(f"{len(unlisted)} files are not on the list and are left out, e.g. {unlisted[0]}")


def _metadata(footage: Path, found: Survey) -> list[Mapping[str, Any]] | None:
    path = footage / "metadata.jsonl"
    if not path.is_file():
        return None
    rows = []
    for number, line in enumerate(_read(path, found).splitlines(), 1):
        try:
            row = json.loads(line) if line.strip() else {}
            _times(row)
        except (ValueError, TypeError, AttributeError):
            raise UsageError(f"{path}, line {number}: not a line of JSON with a file and a caption") from None
        if row:
            rows.append(row)
    return rows


def _tables(footage: Path, found: Survey) -> list[Mapping[str, Any]] | None:
    """The first table that has a column of files and one of captions."""
    for path in sorted(footage.glob("*.csv")):
        text = _read(path, found)
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter(text)))
        names = [name.strip().lower() for name in lines[0]] if lines else []
        if not (set(names) & set(_FILE) and set(names) & set(_TEXT)):
            found.notes.append(f"{path}: left out, it has no columns such as file_name and caption")
            continue
        rows = [dict(zip(names, line, strict=False)) for line in lines[1:] if any(line)]
        for number, row in enumerate(rows, 2):
            try:
                _times(row)
            except ValueError:
                raise UsageError(f"{path}, row {number}: start and end are seconds, e.g. 3.5") from None
        return list(rows)
    return None


def _pairs(footage: Path, found: Survey) -> list[Mapping[str, Any]] | None:
    """prompts.txt beside videos.txt or images.txt."""
    prompts = next((path for name in ("prompts", "prompt") if (path := footage / f"{name}.txt").is_file()), None)
    files = next((path for name in ("videos", "images") if (path := footage / f"{name}.txt").is_file()), None)
    if prompts is None or files is None:
        return None
    said, named = (_read(path, found).splitlines() for path in (prompts, files))
    for longer, other in ((said, named), (named, said)):
        while len(longer) > len(other) and not longer[-1].strip():
            longer.pop()
    if len(said) != len(named):
        raise UsageError(f"{prompts}: {len(said)} lines, and {files.name} has {len(named)}; give each file one line")
    return [{"file": name.strip(), "caption": text} for name, text in zip(named, said, strict=True)]


def delimiter(text: str) -> str:
    """What parts the columns of a table: spreadsheets differ."""
    first = text.splitlines()[0] if text else ""
    return max(",;\t", key=first.count)


def _times(row: Mapping[str, Any]) -> None:
    """Raises ValueError or TypeError where a time is none."""
    for key in ("start", "end"):
        float(row.get(key) or 0)


def _read(path: Path, found: Survey) -> str:
    """A text; an encoding other than UTF-8 is told, and a file that is no text is passed over."""
    try:
        text, encoding = sidecars.read_text(path)
    except PiyingError as error:
        found.notes.append(str(error))
        return ""
    if encoding not in ("utf-8", "utf-8-sig"):
        found.notes.append(f"{path}: read as {encoding}")
    return text


def _episode(path: Path, footage: Path) -> str:
    resolved, root = path.resolve(), footage.resolve()
    inside = resolved.relative_to(root) if resolved.is_relative_to(root) else Path(resolved.name)
    return inside.with_suffix("").as_posix()
