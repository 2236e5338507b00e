"""Where a file will go, settled before the work begins."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from piying.errors import PiyingError, UsageError

ROOM = 16_000_000  # bytes; a video with its temporary copy, several times over


def name_after(prompt: str, folder: Path) -> Path:
    """A name from the prompt's first words that is still free: red-boat.mp4, then red-boat-2.mp4."""
    stem = "-".join(re.findall(r"\w+", prompt.lower()))[:40].strip("-_") or "video"
    return free(folder / f"{stem}.mp4")


def free(path: Path) -> Path:
    """The path itself, or with the first number that makes it new."""
    number, candidate = 2, path
    while candidate.exists():
        candidate = path.with_stem(f"{path.stem}-{number}")
        number += 1
    return candidate


def place(partial: Path, path: Path) -> Path:
    """Moves a whole file to a path, or to the first name after it that is still free -> where it is now."""
    while True:
        target = free(path)
        try:
            os.link(partial, target)  # unlike a rename it takes no other file's place
        except FileExistsError:
            continue
        except OSError:  # this disk has no links
            os.replace(partial, target)
        return target


def check(path: Path, suffix: str, *sources: Path | None) -> None:
    """UsageError for a place that cannot be meant, as that of a source, PiyingError for one that refuses."""
    if path.suffix != suffix:
        raise UsageError(f"out={path}: use a name that ends in {suffix}")
    if not path.parent.is_dir():
        raise UsageError(f"out={path}: the folder {path.parent} does not exist; make it first")
    try:
        tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".part").close()
        room = shutil.disk_usage(path.parent).free
    except OSError as error:
        raise PiyingError(f"out={path}: cannot write there ({error.strerror}); choose another with --out") from error
    if path.is_dir():
        raise UsageError(f"out={path}: is a folder; name a file in it")
    if any(source and source.exists() and path.exists() and path.samefile(source) for source in sources):
        raise UsageError(f"out={path}: is what the video is made from; choose another name")
    if room < ROOM:
        raise PiyingError(f"out={path}: {room / 1e6:.0f} MB free there, {ROOM / 1e6:.0f} MB are needed; make room")
