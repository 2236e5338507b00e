"""Names that must come through a translation as they are: 大娃 -> DaWa."""

import re
import tomllib
from pathlib import Path

from piying.errors import UsageError

_MENDED = 'write a line for each name, e.g. "大娃" = "DaWa"'


def read(path: Path) -> dict[str, str]:
    """A TOML file of names: what a person writes -> what the model is told.

    Raises UsageError where there is none, or where it holds anything else.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"glossary={path}: no such file") from None
    except OSError as error:
        raise UsageError(f"glossary={path}: {error.strerror}") from None
    except ValueError as error:  # of TOML, or bytes that are not UTF-8
        raise UsageError(f"glossary={path}: not TOML ({error}); {_MENDED}") from None
    for written, name in values.items():
        if not isinstance(name, str) or not name.strip() or not written.strip():
            raise UsageError(f"glossary={path}: {written} = {name!r}: {_MENDED}")
    return values


def stand_in(text: str, names: list[str]) -> list[str]:
    """Those of the names that stand in a text, letter by letter and as whole words."""
    return [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
