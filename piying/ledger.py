"""Findings kept line by line, so that a killed run loses at most the last one."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from piying.errors import PiyingError


def add(path: Path, finding: Mapping[str, Any]) -> None:
    """Raises PiyingError where the disk refuses."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + json.dumps(finding))  # a line that was cut off does not spoil the next
    except OSError as error:
        raise PiyingError(f"{path}: cannot be written ({error.strerror}); make room and run it again") from None


def findings(path: Path) -> Iterator[dict[str, Any]]:
    """Every whole line, oldest first; none where there is no file."""
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            if line:
                yield json.loads(line)
        except json.JSONDecodeError:
            continue
