"""`piying theatre`: what the theatre draws, as a contact sheet, as footage and as a dataset."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from piying.cli import output, terminal
from piying.errors import PiyingError, UsageError

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
def footage(
    out: Annotated[Path, typer.Option(help="A new folder.")] = Path("footage"),
    episodes: Annotated[int, typer.Option(min=1, max=100, help="Files.")] = 4,
    held_out: Annotated[int, typer.Option(min=0, max=100, help="Further files, to be held out of a training.")] = 1,
    scenes: Annotated[int, typer.Option(min=1, max=100, help="In each file, behind its opening.")] = 6,
    cast: Annotated[
        list[str] | None, typer.Option(metavar="WHO", help="One of the cast, e.g. dawa, as often as needed; else all.")
    ] = None,
    style: Annotated[
        list[str] | None, typer.Option(help="E.g. woodcut, as often as needed; else those that nano knows.")
    ] = None,
    size: Annotated[
        str, typer.Option(metavar="HEIGHTxWIDTH", help="Of the picture between its black bars.")
    ] = "96x144",
    seed: Annotated[int, typer.Option(help="Draws the scenes.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Film episodes of a troupe that nano has never seen, to try `piying prep` on footage of which all is known."""
    from piying.cli.generate import read_size
    from piying.theatre.episodes import film, plan
    from piying.theatre.scene import STYLES, SUBJECTS, TROUPE, UNSEEN_STYLES

    who = _among("cast", cast, TROUPE, SUBJECTS)
    looks = _among("style", style, STYLES, UNSEEN_STYLES)
    height, width = read_size(size)
    if min(height, width) < 32 or height % 2 or width % 2:
        raise UsageError(f"size={size}: use even numbers from 32, e.g. 96x144")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"out={out}: exists already; choose a new folder")
    planned = plan(episodes, held_out, scenes, seed=seed, cast=who, styles=looks)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with terminal.progress("filming", len(planned)) as advance:
            for done, episode in enumerate(planned, 1):
                film(episode, out, (height, width))
                advance(done)
    except OSError as error:
        raise PiyingError(f"out={out}: cannot be written ({error.strerror})") from None
    if as_json:
        terminal.answer({"footage": str(out), "files": [f"{episode.name}.mp4" for episode in planned]})
    else:
        typer.echo(f"{out}: {len(planned)} files of {scenes} scenes")


@app.command()
def clips(
    cast: Annotated[list[str], typer.Argument(help="Puppets that nano has never seen: dawa, erwa, grandpa ...")],
    count: Annotated[int, typer.Option(min=1, help="Clips of each.")] = 24,
    out: Annotated[Path, typer.Option(help="A new dataset folder.")] = Path("ds"),
    seed: Annotated[int, typer.Option(help="Draws the scenes.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Draw clips of puppets that nano has never seen, as a dataset to train on."""
    from piying.config import NANO
    from piying.theatre.scene import TROUPE
    from piying.train.tune.rehearsal import rehearse

    rehearse(_among("cast", cast, TROUPE, ()), count, out, NANO.size, seed)
    if as_json:
        terminal.answer({"dataset": str(out), "clips": count * len(cast)})
    else:
        typer.echo(f"{out}: {count * len(cast)} clips of {', '.join(cast)}")


def _among(name: str, chosen: list[str] | None, usual: tuple[Any, ...], further: tuple[Any, ...]) -> tuple[Any, ...]:
    """What was chosen, else what is usual. Raises UsageError for what is neither usual nor further."""
    if unknown := set(chosen or ()) - {*usual, *further}:
        raise UsageError(f"{name}={', '.join(sorted(unknown))}: use {', '.join((*usual, *further))}")
    return tuple(dict.fromkeys(chosen)) if chosen else usual
