"""`piying report`: whether what a training promised was kept."""

from pathlib import Path
from typing import Annotated

import typer

from piying.cli import terminal


def report(
    run: Annotated[Path, typer.Argument(help="The folder of a run, as `piying train` leaves it.")],
    prompts: Annotated[int, typer.Option(min=1, max=999, help="With a name; and as many without.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Videos of each prompt.")] = 5,
    every: Annotated[
        bool, typer.Option("--all", help="First choose the best of the adapters that the run kept, on fewer prompts.")
    ] = False,
    embedder: Annotated[
        Path | None, typer.Option(help="The folder of a vision model (DINOv2, CLIP ...) that knows characters again.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Where the base lies; else what the run calls it.")] = None,
    dataset: Annotated[Path | None, typer.Option(help="Where the dataset lies now; else where the run saw it.")] = None,
    frames: Annotated[int | None, typer.Option(help="Of each video; fewer are made sooner.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of each video.")] = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the report; else report/ in the run.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, mps or cuda; else the best that is here.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Make no more videos after so long; the same goes on.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Make videos with and without what was trained, and say whether the promise was kept."""
    from piying import device as devices
    from piying.evaluate import character

    out = out or run / "report"
    effort = character.Effort(prompts=prompts, seeds=seeds, minutes=minutes, frames=frames, steps=steps)
    found = character.report(
        run,
        out,
        effort,
        model=model,
        dataset=dataset,
        embedder=embedder,
        every=every,
        device=devices.choose(device),
        say=terminal.say,
    )
    if as_json:
        terminal.answer(found)
        return
    for line in found["verdict"]:
        typer.echo(line)
    typer.echo(out / "report.html")
