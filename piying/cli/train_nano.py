"""`piying train-nano`: the embedded model, from nothing but the theatre."""

from pathlib import Path
from typing import Annotated

import typer

from piying.cli import terminal
from piying.errors import UsageError


def train_nano(
    out: Annotated[Path, typer.Option(help="The folder of the run: checkpoints, losses, sheets, the model.")] = Path(
        "runs/nano"
    ),
    recipe: Annotated[Path | None, typer.Option(help="A TOML file; else the recipe of nano.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Change one value, e.g. transformer.drop=0.2; as often as needed.")
    ] = None,
    stage: Annotated[
        list[str] | None, typer.Option(help="vae, text or transformer, as often as needed; else all.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, mps or cuda; else the best that is here.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop cleanly after so long; --resume goes on.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in the folder stopped.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train nano from nothing but the theatre."""
    from piying import device as devices
    from piying.parallel import ranks
    from piying.train.nano import stages
    from piying.train.nano.recipe import read

    if unknown := set(stage or ()) - set(stages.STAGES):
        raise UsageError(f"stage={', '.join(unknown)}: use {', '.join(stages.STAGES)}")
    with ranks.together():
        folder = stages.train_nano(
            read(recipe, override or []),
            out,
            device=devices.choose(device),
            minutes=minutes,
            resume=resume,
            stages=[name for name in stages.STAGES if not stage or name in stage],
            on_event=lambda event: terminal.say(str(event)),
        )
        if ranks.rank():
            return
    if as_json:
        terminal.answer({"run": str(out), "model": str(folder) if folder not in (None, out) else None})
    else:
        typer.echo(folder or f"{out}: not finished; --resume goes on")
