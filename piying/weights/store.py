"""Where Piying keeps what a person added."""

import os
from pathlib import Path


def home() -> Path:
    """$PIYING_HOME, else piying in $XDG_DATA_HOME, else ~/.local/share/piying. Need not exist."""
    if chosen := os.environ.get("PIYING_HOME"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "piying"
