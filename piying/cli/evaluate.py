"""`piying evaluate nano`: what was promised against what came out."""

import json
from pathlib import Path
from typing import Annotated

import typer

from piying.cli import terminal


def evaluate(
    model: Annotated[str, typer.Argument(help="nano, or the folder of another model of the theatre.")] = "nano",
    out: Annotated[Path, typer.Option(help="The folder of the report; clips that it holds are not made again.")] = Path(
        "runs/evaluation"
    ),
    prompts: Annotated[int, typer.Option(min=1, help="How many.")] = 1000,
    device: Annotated[str | None, typer.Option(help="cpu, mps or cuda; else the best that is here.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop cleanly after so long; the same command goes on.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Measure nano on prompts whose answers are known."""
    from piying import device as devices
    from piying.evaluate import nano
    from piying.train.nano.recipe import read
    from piying.train.seeds import training_scene

    where = devices.choose(device)
    seed = read().seed
    nano.evaluate(
        model,
        out,
        n=prompts,
        device=where,
        minutes=minutes,
        training=[training_scene(seed, i) for i in range(prompts)],
        on_event=terminal.say,
    )
    if as_json:
        terminal.answer(json.loads((out / "report.json").read_text(encoding="utf-8")))
    else:
        typer.echo(out / "report.md")
