"""The command line: one file per verb, and the one place where whatever goes wrong becomes a line and an exit code.

Exit codes: 0 done, 1 failed, 2 usage, 3 model missing, 4 out of memory, 130 interrupted.
Heavy imports stand inside the verbs, so that `--help` answers at once.
"""

import io
import os
import sys
import traceback
from typing import Annotated, Any, NoReturn

import typer

from piying.cli import (
    adapters,
    cast,
    convert,
    doctor,
    evaluate,
    generate,
    inspect,
    models,
    plan,
    prep,
    prompt,
    replay,
    report,
    terminal,
    theatre,
    train,
    train_nano,
)
from piying.errors import OutOfMemory, PiyingError, UsageError

# typer keeps its own copy of click in newer versions; this is the right one in each
ParseError: type[Any] = typer.BadParameter.__bases__[0]


class Interrupted(PiyingError):
    """Ctrl-C."""

    exit_code = 130


class Door(typer.core.TyperGroup):
    """Catches Ctrl-C before typer makes something else of it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted") from error


app = typer.Typer(
    cls=Door,
    help="Video from text on your own machine.",
    rich_markup_mode=None,  # plain help: half the start-up time, and the text of docs/cli.md
    add_completion=False,
)
app.command()(generate.generate)
app.command()(prompt.prompt)
app.command()(inspect.inspect)
app.command()(replay.replay)
app.command()(doctor.doctor)
app.command()(plan.plan)
app.add_typer(models.app, name="models")
app.command()(convert.convert)
app.add_typer(adapters.app, name="adapters")
app.add_typer(theatre.app, name="theatre")
app.command()(prep.prep)
app.command()(cast.cast)
app.command()(train.train)
app.command()(report.report)
app.command()(train_nano.train_nano)
app.command()(evaluate.evaluate)


def show_version(wanted: bool) -> None:
    if wanted:
        from piying import __version__

        typer.echo(f"piying {__version__}")
        raise typer.Exit


@app.callback()
def door(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Video from text on your own machine."""


def main() -> NoReturn:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without Chinese is no reason to fail
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs one verb; returns the exit code. With --json an error is the one object on stdout."""
    try:
        return app(arguments or ["--help"], prog_name="piying", standalone_mode=False) or 0
    except PiyingError as problem:
        error = problem
    except ParseError as problem:
        error = UsageError(problem.format_message())
    except Exception as problem:
        from piying.memory.budget import ran_out

        if os.environ.get("PIYING_DEBUG"):
            traceback.print_exc()
        error = PiyingError(f"unexpected {type(problem).__name__}: {problem} (PIYING_DEBUG=1 shows where)")
        if ran_out(problem):
            error = OutOfMemory("memory is used up, of this machine or of the GPU: ask for less, or free some of it")
    terminal.fail(error, as_json="--json" in arguments)
    return error.exit_code
