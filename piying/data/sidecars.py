"""Captions in text files beside the media, in whatever encoding they were saved.

A text is one caption of the whole file, unless each of its lines begins with a stretch of time, such as
0:03.5 - 0:09 DaWa runs: then each line is a caption of what is shown then. A single line needs a colon, a point or -->
in its times: "3-5 children run" is no stretch.
"""

import codecs
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from piying.errors import PiyingError

_TIME = r"(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d+)?)"
_TIMED = re.compile(rf"\s*{_TIME}\s*(?:-->|-|–|—|~|～)\s*{_TIME}\s*[:：]?\s+(\S.*)")
_LANGUAGE = re.compile(r"\.[A-Za-z-]{2,8}")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NONE = "neither UTF-8, UTF-16 nor GB18030; save it as UTF-8"
_WRITTEN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")  # kana, Chinese characters, Hangul


@dataclass(frozen=True)
class Caption:
    """What a text says of a file from one moment to another, in seconds; without an end, of all of it."""

    text: str
    start: float = 0.0
    end: float | None = None

    def holds(self, start: float, end: float) -> bool:
        """Whether it is about at least half of a clip, or about the moment of a picture."""
        return self.end is None or min(self.end, end) - max(self.start, start) >= (end - start) / 2


def read_text(path: Path) -> tuple[str, str]:
    """The text of a file and its encoding. Raises PiyingError where it is not text."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PiyingError(f"{path}: {error.strerror}") from None
    marked = next((encoding for mark, encoding in _MARKS if content.startswith(mark)), None)
    sure = marked or ("utf-8" if b"\0" not in content else None)
    if sure:
        try:
            return content.decode(sure), sure
        except UnicodeDecodeError:
            if marked:
                raise PiyingError(f"{path}: {_NONE}") from None
    return _guessed(path, content, ["gb18030", "utf-16-le", "utf-16-be"] if sure else ["utf-16-le", "utf-16-be"])


def captions_in(text: str) -> list[Caption]:
    lines = [line for line in text.splitlines() if line.strip()]
    timed = [_TIMED.fullmatch(line) for line in lines]
    if lines and all(timed) and (len(lines) > 1 or _is_exact(timed[0])):
        return [
            Caption(" ".join(found[7].split()), _seconds(*found.group(1, 2, 3)), _seconds(*found.group(4, 5, 6)))
            for found in timed
            if found
        ]
    return [Caption(" ".join(text.split()))] if lines else []


def beside(media: Collection[Path]) -> dict[Path, list[Path]]:
    """The text files of each file x.mp4: x.txt, x.caption, x.mp4.txt, x.zh.txt; for videos/x.mp4 also labels/x.txt.

    Where there is an x.zh.mp4 too, x.zh.txt is that one's alone.
    """
    found: dict[Path, list[Path]] = {path: [] for path in media}
    stems: dict[Path, list[Path]] = {}
    for path in found:
        stems.setdefault(path.with_suffix(""), []).append(path)
    for folder in dict.fromkeys(path.parent for path in found):
        for text in sorted(path for path in folder.iterdir() if path.suffix in (".txt", ".caption") and path.is_file()):
            about = text.with_suffix("")
            owners = stems.get(about, [])
            if not owners and text.suffix == ".txt":
                spoken = _LANGUAGE.fullmatch(about.suffix)
                owners = [about] if about in found else stems.get(about.with_suffix(""), []) if spoken else []
            for path in owners:
                found[path].append(text)
    for path, texts in found.items():
        label = path.parent.parent / "labels" / f"{path.stem}.txt"
        if path.parent.name == "videos" and label.is_file():
            texts.append(label)
    return found


def _guessed(path: Path, content: bytes, encodings: list[str]) -> tuple[str, str]:
    """In the encoding that makes the most usual text of it."""
    tries: list[tuple[float, int, str, str]] = []
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        tries.append((_usual(text), -len(tries), text, encoding))
    if not tries or max(tries)[0] < 0.7:
        raise PiyingError(f"{path}: {_NONE}")
    _, _, text, encoding = max(tries)
    return text, encoding


def _usual(text: str) -> float:
    """The share of characters that texts are made of; those outside everyday English or Chinese count a bit less."""
    everyday = text.encode("gb2312", "ignore").decode("gb2312")
    controls = sum(c < " " and c not in "\r\n\t" for c in text)
    written = len(_WRITTEN.findall(text)) - len(_WRITTEN.findall(everyday))
    return (len(everyday) + 0.8 * written - controls) / max(len(text), 1)


def _is_exact(line: re.Match[str] | None) -> bool:
    """Whether the times of a line can be nothing but times."""
    return line is not None and (any(line.group(2, 5)) or "." in line[3] + line[6] or "-->" in line[0][: line.start(7)])


def _seconds(hours: str | None, minutes: str | None, seconds: str) -> float:
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds.replace(",", "."))
