"""Captions in text files beside the media, in whatever encoding they were saved.

A text is one caption of the whole file, unless each of its lines begins with a stretch of time, such as
0:03.5 - 0:09 DaWa runs: then each line is a caption of what is shown then.
"""

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from piying.errors import PiyingError

_TIME = r"(?:(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d+)?)"
_TIMED = re.compile(rf"\s*{_TIME}\s*(?:-->|-|–|—|~|～)\s*{_TIME}\s*[:：]?\s+(\S.*)")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


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
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return _decoded(path, content, [encoding])
    if b"\0" not in content:
        try:
            return content.decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            return _decoded(path, content, ["gb18030", "utf-16-le", "utf-16-be"])
    return _decoded(path, content, ["utf-16-le", "utf-16-be"])


def captions_in(text: str) -> list[Caption]:
    lines = [line for line in text.splitlines() if line.strip()]
    timed = [_TIMED.fullmatch(line) for line in lines]
    if lines and all(timed):
        return [
            Caption(" ".join(found[7].split()), _seconds(*found.group(1, 2, 3)), _seconds(*found.group(4, 5, 6)))
            for found in timed
            if found
        ]
    return [Caption(" ".join(text.split()))] if lines else []


def beside(media: Path) -> list[Path]:
    """The text files of a file x.mp4: x.txt, x.caption, x.mp4.txt, x.zh.txt; for videos/x.mp4 also labels/x.txt."""
    stem = re.escape(media.stem)
    name = re.compile(rf"(?:{stem}|{re.escape(media.name)}|{stem}\.[A-Za-z-]{{2,8}})\.txt|{stem}\.caption")
    found = sorted(path for path in media.parent.iterdir() if name.fullmatch(path.name) and path.is_file())
    label = media.parent.parent / "labels" / f"{media.stem}.txt"
    return [*found, *([label] if media.parent.name == "videos" and label.is_file() else [])]


def _decoded(path: Path, content: bytes, encodings: list[str]) -> tuple[str, str]:
    """In the encoding that makes the most usual text of it."""
    tries: list[tuple[float, int, str, str]] = []
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        tries.append((_usual(text), -len(tries), text, encoding))
    if not tries or max(tries)[0] < 0.7:
        raise PiyingError(f"{path}: neither UTF-8, UTF-16 nor GB18030; save it as UTF-8")
    _, _, text, encoding = max(tries)
    return text, encoding


def _usual(text: str) -> float:
    """The share of characters that texts in English and Chinese are made of."""
    kept = text.encode("gb2312", "ignore").decode("gb2312")
    controls = sum(c < " " and c not in "\r\n\t" for c in text)
    return (len(kept) - controls) / max(len(text), 1)


def _seconds(hours: str | None, minutes: str | None, seconds: str) -> float:
    return 3600 * int(hours or 0) + 60 * int(minutes or 0) + float(seconds.replace(",", "."))
