"""Models of transformers in folders of this machine: nothing is fetched, and no code of a folder is run."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from piying.errors import PiyingError, UsageError


@contextmanager
def opening(folder: Path, option: str, wanted: str) -> Iterator[dict[str, Any]]:
    """Gives what `from_pretrained` is to be called with inside. `option` is what the folder was given as.

    Raises UsageError for a folder that is none, PiyingError where transformers is missing or cannot read it.
    """
    if not (folder / "config.json").is_file():
        raise UsageError(f"{option}={folder}: no config.json there; name {wanted}")
    if find_spec("transformers") is None:
        raise PiyingError(f"{option}={folder}: needs transformers, pip install 'piying[enhance]'")
    try:
        yield {"local_files_only": True, "trust_remote_code": False}
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise PiyingError(f"{option}={folder}: cannot be read ({reason})") from None
