"""Adapters by name: those that a person added, kept in one folder; and any file by its path."""

import re
from dataclasses import dataclass
from pathlib import Path

from piying.adapters import file
from piying.adapters.adapter import Adapter
from piying.errors import ModelMissing, PiyingError, UsageError
from piying.files import digest, home
from piying.weights.store import make


@dataclass(frozen=True)
class Found:
    """An adapter on this machine, and the SHA-256 of its file."""

    path: Path
    sha256: str


def folder() -> Path:
    return home() / "adapters"


def added() -> dict[str, Path]:
    """The file of each added adapter by its name, in order."""
    return {path.stem: path for path in sorted(folder().glob("*.safetensors"))}


def add(adapter: Adapter, name: str) -> Path:
    """Keeps an adapter under a name, in diffusers' naming. Raises UsageError where the name is taken or impossible."""
    path = _path(name)
    if path.exists():
        raise UsageError(f"name={name}: there is one already; take another --name, or piying adapters rm {name}")
    make(path.parent)
    file.write(adapter, path)
    return path


def remove(name: str) -> Path:
    """Deletes an added adapter. Raises ModelMissing where there is none of this name."""
    path = added().get(name)
    if path is None:
        raise ModelMissing(_unknown(name))
    try:
        path.unlink()
    except OSError as error:
        raise PiyingError(f"{path}: cannot be deleted ({error.strerror})") from error
    return path


def locate(source: str) -> Path:
    """The file of a name, or of a path; a name is a name, whatever files there are, and ./name means a file.

    Raises ModelMissing.
    """
    if path := added().get(source):
        return path
    path = file.locate(source)
    if not path.is_file():
        raise ModelMissing(_unknown(source))
    return path


def find(source: str, sha256: str | None = None) -> Found:
    """The adapter, or, where a SHA-256 is given, exactly that one under whatever name it was added.

    Raises ModelMissing where it is not here, and UsageError where another one stands in its place.
    """
    try:
        path = locate(source)
        found = Found(path, digest(path))
    except ModelMissing:
        if sha256 is None:
            raise
        found = None
    if found and sha256 in (None, found.sha256):
        return found
    for path in added().values():
        if digest(path) == sha256:
            return Found(path, str(sha256))
    if found is None:
        raise ModelMissing(_unknown(source))
    raise UsageError(f"adapter={source}: the file has changed since the request was made; put the first one back")


def _path(name: str) -> Path:
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UsageError(f"name={name}: use letters, digits, dots, dashes, e.g. dawa")
    return folder() / f"{name}.safetensors"


def _unknown(source: str) -> str:
    known = ", ".join(added()) or "none yet"
    return f"adapter={source}: no such file and no added adapter; added are: {known}"
