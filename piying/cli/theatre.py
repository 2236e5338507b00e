"""`piying theatre`: what the theatre draws, as a contact sheet and as a dataset."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from piying.cli import output, terminal
from piying.errors import UsageError

app = typer.Typer(help="The paper theatre that nano learned from.", rich_markup_mode=None)


class Language(StrEnum):
    en = "en"
    zh = "zh"


@app.callback()
def theatre() -> None:
    """The paper theatre that nano learned from."""


@app.command()
def sample(
    seed: Annotated[int, typer.Option(help="Draws the scenes.")] = 0,
    count: Annotated[int, typer.Option(min=1, max=64, help="Clips on the sheet.")] = 6,
    language: Annotated[Language, typer.Option(help="Of the captions.")] = Language.en,
    out: Annotated[Path, typer.Option(help="The sheet, a PNG.")] = Path("sheet.png"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Draw clips of the theatre with their captions as one contact sheet."""
    output.check(out, ".png")

    import random

    from piying.theatre import render
    from piying.theatre.captions import caption
    from piying.theatre.casting import draw
    from piying.theatre.sheet import contact_sheet

    rng = random.Random(seed)
    scenes = [draw(rng) for _ in range(count)]
    captions = [caption(scene, language.value, rng).text for scene in scenes]
    contact_sheet(list(render(scenes).frames.numpy()), captions).save(out)
    if as_json:
        terminal.answer({"sheet": str(out), "captions": captions})
    else:
        typer.echo(f"{out}: {count} clips")


@app.command()
def clips(
    cast: Annotated[list[str], typer.Argument(help="Puppets that nano has never seen: dawa, erwa, grandpa ...")],
    count: Annotated[int, typer.Option(min=1, help="Clips of each.")] = 24,
    out: Annotated[Path, typer.Option(help="A new dataset folder.")] = Path("ds"),
    seed: Annotated[int, typer.Option(help="Draws the scenes.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Draw clips of puppets that nano has never seen, as a dataset to train on."""
    from typing import cast as known

    from piying.config import NANO
    from piying.theatre.scene import TROUPE, Troupe
    from piying.train.rehearsal import rehearse

    if unknown := [who for who in cast if who not in TROUPE]:
        raise UsageError(f"cast={', '.join(unknown)}: use {', '.join(TROUPE)}")
    rehearse([known(Troupe, who) for who in cast], count, out, NANO.size, seed)
    if as_json:
        terminal.answer({"dataset": str(out), "clips": count * len(cast)})
    else:
        typer.echo(f"{out}: {count * len(cast)} clips of {', '.join(cast)}")
