"""The dataset folder: clips and who is in them. `piying prep` writes it, `piying cast` edits it, a training reads it.

clips.jsonl     one line a kept clip
media/          MP4 and PNG, one file a clip; a PNG is a clip of one frame
cast.yaml       who is who
clips.csv       every clip with the decision about it, to be edited; review.html shows the same
metadata.jsonl, prompts.txt, videos.txt   the kept clips again, as other trainers read them
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from piying.errors import PiyingError, UsageError
from piying.files import replacing

CLIPS, CAST, MEDIA = "clips.jsonl", "cast.yaml", "media"
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One clip that is kept. `captions` say the same thing in several ways or languages; a training draws one."""

    id: str
    media: str  # path relative to the dataset folder
    frames: int
    fps: float
    size: tuple[int, int]  # height, width in pixels
    captions: tuple[str, ...] = ()
    episode: str = ""  # what is held out is held out by whole episodes
    sha256: str  # of the media
    names: tuple[str, ...] = ()  # ids of the cast in it
    source: str = ""  # the file that it was cut from
    start: float = 0.0  # seconds into the source
    end: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of the cast."""

    id: str
    token: str  # what the model is told: Latin, one word
    aliases: tuple[str, ...] = ()  # what a person may write, in any language
    class_word: str = ""  # what it is one of, e.g. child; `class` in the file
    references: tuple[str, ...] = ()  # pictures, relative to the dataset folder or absolute


@dataclass(frozen=True)
class Dataset:
    """A dataset folder as it stands on the disk."""

    folder: Path
    clips: tuple[Clip, ...]
    cast: tuple[Member, ...]

    @property
    def aliases(self) -> dict[str, str]:
        """What a person may write -> what the model is told, for `prompts.aliases.substitute`."""
        return {alias: member.token for member in self.cast for alias in member.aliases}

    def path(self, clip: Clip) -> Path:
        return self.folder / clip.media


def read(folder: str | Path) -> Dataset:
    """The dataset of a folder.

    Raises UsageError where it is none, PiyingError for a line that is broken, media that are gone or a name that the
    cast does not know.
    """
    folder = Path(folder)
    clips, cast = read_clips(folder), read_cast(folder)
    known = {member.id for member in cast}
    for clip in clips:
        if not (folder / clip.media).is_file():
            raise PiyingError(f"{folder / clip.media}: is gone; run piying prep again")
        if strangers := [name for name in clip.names if name not in known]:
            raise PiyingError(f"{folder / CLIPS}: {clip.id} names {strangers[0]}, whom {CAST} lacks; run piying cast")
    return Dataset(folder, clips, cast)


def read_clips(folder: Path) -> tuple[Clip, ...]:
    """The kept clips. Raises UsageError where the folder is no dataset, PiyingError for a broken line."""
    path = folder / CLIPS
    if not path.is_file():
        raise UsageError(f"{folder}: no dataset, {CLIPS} is missing; make one with piying prep FOOTAGE --out {folder}")
    clips = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            clips.append(_clip(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
            raise PiyingError(f"{path}, line {number}: {reason}; run piying prep again") from None
    if len({clip.id for clip in clips}) < len(clips):
        raise PiyingError(f"{path}: two clips have one id; run piying prep again")
    return tuple(clips)


def write_clips(folder: Path, clips: Iterable[Clip]) -> None:
    lines = [json.dumps(asdict(clip), ensure_ascii=False) for clip in clips]
    write_whole(folder / CLIPS, "".join(f"{line}\n" for line in lines))


def read_cast(folder: Path) -> tuple[Member, ...]:
    """The cast; none where there is no cast.yaml. Raises UsageError for what breaks its rules or collides."""
    import yaml

    path = folder / CAST
    if not path.is_file():
        return ()
    try:
        entries = yaml.safe_load(_text(path)) or []
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(entries, list):
        raise UsageError(f"{path}: write a list, a line `- id: dawa` for each of the cast")
    members = tuple(_member(entry, path) for entry in entries)
    check_cast(members, path)
    return members


def write_cast(folder: Path, cast: Sequence[Member]) -> None:
    """Raises UsageError, and writes nothing, where the cast breaks a rule."""
    import yaml

    check_cast(cast, folder / CAST)
    entries = [
        {
            "id": member.id,
            "token": member.token,
            "aliases": list(member.aliases),
            "class": member.class_word,
            "references": list(member.references),
        }
        for member in cast
    ]
    text = "".join(yaml.safe_dump([entry], allow_unicode=True, sort_keys=False, width=1000) for entry in entries)
    write_whole(folder / CAST, text)


def check_cast(cast: Sequence[Member], path: Path) -> None:
    """Raises UsageError where a token is not one Latin word, or where one word would mean two members."""
    owners: dict[str, str] = {}
    ids = [member.id for member in cast]
    if twice := [name for name in ids if ids.count(name) > 1]:
        raise UsageError(f"{path}: two have the id {twice[0]}; give each its own")
    for member in cast:
        if not _TOKEN.fullmatch(member.token):
            raise UsageError(f"{path}: token={member.token!r} of {member.id}: one word of Latin letters, e.g. DaWa")
        for word in {word.lower() for word in (member.token, *member.aliases)}:
            if not word.strip():
                raise UsageError(f"{path}: {member.id} has an empty alias; take it out")
            if word in owners:
                raise UsageError(f"{path}: {word} means both {owners[word]} and {member.id}; take it from one")
            owners[word] = member.id


def write_whole(path: Path, text: str) -> None:
    """A text file, UTF-8, that is there whole or as it was before; one that says the same already is left alone.

    Raises PiyingError where the disk refuses.
    """
    try:
        if path.is_file() and path.read_bytes() == text.encode():
            return
        with replacing(path) as partial:
            partial.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise PiyingError(f"{path}: cannot be written ({error.strerror}); what stood there is as it was") from error


def _clip(fields: Any) -> Clip:
    """Raises KeyError, TypeError and ValueError."""
    if not isinstance(fields, dict):
        raise ValueError("is no JSON object")
    media = PurePosixPath(_as(fields, "media", str))
    if media.is_absolute() or ".." in media.parts:
        raise ValueError(f"media={media} leads out of the folder")
    height, width = _as(fields, "size", list)
    return Clip(
        id=_as(fields, "id", str),
        media=str(media),
        frames=_as(fields, "frames", int),
        fps=float(_as(fields, "fps", (int, float))),
        size=(int(height), int(width)),
        captions=_strings(fields, "captions"),
        episode=str(fields.get("episode", "")),
        sha256=_as(fields, "sha256", str),
        names=_strings(fields, "names"),
        source=str(fields.get("source", "")),
        start=float(fields.get("start", 0)),
        end=float(fields.get("end", 0)),
    )


def _member(entry: Any, path: Path) -> Member:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or not entry["id"].strip():
        raise UsageError(f"{path}: {entry!r:.80}: each entry needs an id, e.g. `- id: dawa`")
    name = entry["id"]
    if unknown := [key for key in entry if key not in ("id", "token", "aliases", "class", "references")]:
        raise UsageError(f"{path}: {unknown[0]} of {name}: use id, token, aliases, class, references")
    try:
        return Member(
            id=name,
            token=_as(entry, "token", str),
            aliases=_strings(entry, "aliases"),
            class_word=_as(entry, "class", str) if entry.get("class") else "",
            references=_strings(entry, "references"),
        )
    except KeyError:
        raise UsageError(f"{path}: {name} lacks a token, the Latin word that the model is told, e.g. DaWa") from None
    except TypeError as error:
        raise UsageError(f"{path}: {name}: {error}") from None


def _as(fields: dict[str, Any], key: str, kind: type | tuple[type, ...]) -> Any:
    value = fields[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{key}={value!r:.80} is not what belongs there")
    return value


def _strings(fields: dict[str, Any], key: str) -> tuple[str, ...]:
    values = fields.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{key}={values!r:.80} is no list of texts")
    return tuple(values)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise PiyingError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8; save it as UTF-8") from None
