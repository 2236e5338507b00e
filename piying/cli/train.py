"""`piying train`: your own characters and style, as an adapter or a model of its own."""

from pathlib import Path
from typing import Annotated

import typer

from piying.cli import terminal
from piying.errors import UsageError


def train(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder, as `piying prep` writes it.")],
    model: Annotated[str, typer.Option(help="A model's name, or its folder.")] = "nano",
    out: Annotated[Path | None, typer.Option(help="The folder of the run; else runs/ and the dataset's name.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="A TOML file; else the shipped recipe.")] = None,
    override: Annotated[
        list[str] | None, typer.Option("--set", help="Change one value, e.g. kind=dora or rank=64; as often as needed.")
    ] = None,
    memory: Annotated[str | None, typer.Option(help="That the GPU may use, e.g. 8GB, or auto; else all.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, mps or cuda; else the best that is here.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop cleanly after so long; --resume goes on.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in the folder stopped.")] = False,
    merged: Annotated[bool, typer.Option("--merged", help="Also write the model with the adapter in it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train an adapter or a whole model on a dataset."""
    from piying import device as devices
    from piying.memory import budget
    from piying.memory.calibration import CONTEXT
    from piying.parallel import ranks
    from piying.train.tune import tuning
    from piying.train.tune.export import export
    from piying.train.tune.tune import tune

    out = out or Path("runs") / dataset.resolve().name
    read, chosen = tuning.read(recipe, override or [], model), devices.choose(device)
    room = budget.parse(memory) if memory else None
    if room is not None and chosen == "cpu":
        raise UsageError("memory: is that of a GPU, and here is none; leave it out")
    if room == "auto":
        room = budget.card(chosen, 0)
    if room is not None and room <= CONTEXT:
        raise UsageError(f"memory={memory}: CUDA alone takes {budget.said(CONTEXT)} of it; allow more, e.g. 8GB")
    with ranks.together():
        tuned = tune(
            dataset,
            model,
            read,
            out,
            device=chosen,
            memory=room and room - CONTEXT,
            minutes=minutes,
            resume=resume,
            listen=lambda event: terminal.say(str(event)),
        )
        made = export(tuned, read, out, whole=merged) if tuned and ranks.rank() == 0 else []
        for one in made:
            rounded = f"; merged, rounding takes {one.distance:.1%} of what was learned" if one.distance else ""
            terminal.say(f"{one.path}: read again, it is what was written{rounded}")
        if ranks.rank():
            return
    if as_json:
        terminal.answer({"run": str(out), "made": [str(one.path) for one in made]})
    else:
        typer.echo(made[0].path.parent if made else f"{out}: not finished; --resume goes on")
