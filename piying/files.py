"""Files that are there whole or as they were before, what tells them apart, and where Piying keeps its own."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path`; the file that is written there takes its place when all went well, else disappears."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """The SHA-256 of a file, computed once for as long as the file stays as it is. Raises OSError."""
    status = path.stat()
    return _digest(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=256)
def _digest(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def home() -> Path:
    """The folder of everything that Piying keeps: PIYING_HOME, else `piying` where programs of a user keep data."""
    if own := os.environ.get("PIYING_HOME"):
        return Path(own).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or os.environ.get("LOCALAPPDATA") or "~/.local/share"
    return Path(data).expanduser() / "piying"
