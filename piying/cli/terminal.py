"""What a person or a script sees: words and progress on stderr, answers on stdout."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from piying.errors import PiyingError


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def answer(value: dict[str, Any]) -> None:
    """The one JSON object on stdout; plain ASCII, so that no terminal's encoding can break it."""
    print(json.dumps(value, indent=2))


def fail(error: PiyingError, *, as_json: bool) -> None:
    if as_json:
        answer({"error": {"kind": type(error).__name__, "message": str(error), "exit_code": error.exit_code}})
    else:
        say(f"piying: {error}")


@contextmanager
def progress(what: str, steps: int) -> Iterator[Callable[[int], None]]:
    """Gives a function that takes the number of steps done. A bar on a terminal, elsewhere a line every 5 seconds.

    What the first call counts beyond one step was done in an earlier run, and took none of this one's time.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True)
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=steps)
            yield lambda done: bar.update(task, completed=done)
    else:
        began = said = time.monotonic()
        first: int | None = None

        def advance(done: int) -> None:
            nonlocal said, first
            now, first = time.monotonic(), done if first is None else first
            if now - said >= 5 or done == steps:
                said = now
                left = (now - began) / (done - first + 1) * (steps - done)
                say(f"{what}: {done} of {steps}, about {left:.0f} s left")

        yield advance
