"""`piying prep`: footage becomes clips with captions, every decision laid open."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from piying.cli import terminal

if TYPE_CHECKING:
    from piying.config import ModelConfig
    from piying.data.prep import Outcome
    from piying.prompts.reader import Reader


def prep(
    footage: Annotated[Path, typer.Argument(help="A folder of videos and images, or one file.")],
    out: Annotated[Path, typer.Option(help="The dataset folder: a new one, or one to go on with.")],
    model: Annotated[
        str | None,
        typer.Option(help="The model that is to be trained: a name or a folder; else as the dataset is, or nano."),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="Of a clip at most, e.g. 49; else as the dataset's, or as the model makes.")
    ] = None,
    captioner: Annotated[
        str | None,
        typer.Option(help="Describes what has no caption: an OpenAI-compatible address, or a vision model's folder."),
    ] = None,
    captioner_model: Annotated[
        str | None,
        typer.Option(envvar="PIYING_ENDPOINT_MODEL", help="Its name there. PIYING_ENDPOINT_KEY holds the key."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Cut footage into clips with captions for a training, and lay every decision open."""
    from piying.cli.prompting import opener
    from piying.data import sources
    from piying.data.prep import made_for
    from piying.data.prep import prep as prepare
    from piying.errors import PiyingError

    before, length = made_for(out) or ("nano", None)
    model = model or before
    if frames is None and model == before:
        frames = length
    config, reader = known(model)
    opened = None
    if captioner:
        opened = opener(captioner, captioner_model, option="captioner", sends="frames of the clips", sees=True)
    found = sources.survey(footage, out)
    with terminal.progress("files", len(found.sources)) as advance:
        outcome = prepare(
            found,
            out,
            model,
            config,
            frames=frames,
            reader=reader,
            captioner=opened,
            tell=terminal.say,
            advance=advance,
        )
    if not outcome.decisions:
        why = f", e.g. {outcome.broken[0]}" if outcome.broken else ""
        raise PiyingError(f"{footage}: no clip was found in {len(found.sources)} files{why}")
    if not as_json:
        for line in summary(outcome):
            typer.echo(line)
    if left := outcome.undescribed:
        raise PiyingError(f"captioner={captioner}: left {left} clips without a caption; run it again once it answers")
    if as_json:
        terminal.answer({"dataset": str(out), **facts(outcome)})


def known(model: str) -> "tuple[ModelConfig, Reader | None]":
    """What a model takes, and how it reads where it is on this machine. Raises ModelMissing for a name of none."""
    from piying.cli.prompting import reader_of
    from piying.errors import ModelMissing
    from piying.weights import glance, store

    try:
        return glance(model)[0], reader_of(model)
    except ModelMissing:
        member = store.member(model)
        if member is None:
            raise
        terminal.say(f"{model} is not on this machine, so nobody counts its tokens in the captions")
        return member, None


def facts(outcome: "Outcome") -> dict[str, Any]:
    """A run as JSON."""
    return {
        "review": str(outcome.review),
        "kept": [clip.id for clip in outcome.clips],
        "dropped": {name: list(one.reasons) for name, one in outcome.decisions.items() if not one.keep},
        "advice": {name: lines for name, lines in outcome.advice.items() if lines},
        "skipped": list(outcome.broken),
        "notes": list(outcome.notes),
    }


def summary(outcome: "Outcome") -> list[str]:
    """A run in a few lines."""
    moving = [clip for clip in outcome.clips if clip.frames > 1]
    seconds = sum(clip.frames / clip.fps for clip in moving)
    stills = len(outcome.clips) - len(moving)
    lines = [
        f"{len(moving)} clips of {seconds:.0f} seconds" + (f" and {stills} pictures" if stills else "") + " are kept"
    ]
    lines += [f"skipped: {why}" for why in outcome.broken]
    dropped = [
        reason.partition(":")[0] for one in outcome.decisions.values() if not one.keep for reason in one.reasons[:1]
    ]
    by_hand = sum(not one.keep and not one.reasons for one in outcome.decisions.values())
    counts = [*Counter(dropped).most_common(), *([("by hand", by_hand)] if by_hand else [])]
    if counts:
        lines.append("dropped: " + ", ".join(f"{count} {reason}" for reason, count in counts))
    if said := sum(bool(advice) for advice in outcome.advice.values()):
        lines.append(f"captions with advice: {said}")
    return [*lines, f"look at {outcome.review}, and decide otherwise in {outcome.review.with_name('clips.csv')}"]
