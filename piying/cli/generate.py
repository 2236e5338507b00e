"""`piying generate "..."`: a sentence becomes a video."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from piying.cli import output, terminal
from piying.cli.prompting import (
    Camera,
    Enhance,
    Enhancer,
    EnhancerModel,
    Glossary,
    Mood,
    Style,
    Wanted,
    never_learned,
    settle,
)
from piying.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from piying.generate import Model
    from piying.request import Request
    from piying.video import Video


def generate(
    prompt: Annotated[str, typer.Argument(help="What to show, in English or Chinese.")],
    image: Annotated[Path | None, typer.Option(help="The first frame.")] = None,
    last_image: Annotated[Path | None, typer.Option(help="The last frame; with --image.")] = None,
    negative: Annotated[str, typer.Option(help="What to keep away from.")] = "",
    seed: Annotated[int | None, typer.Option(help="One seed gives one video; else drawn.")] = None,
    steps: Annotated[int | None, typer.Option(help="More take longer and look cleaner.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt; 1 is not at all.")] = None,
    guidance_curve: Annotated[str | None, typer.Option(help="constant, published or smooth.")] = None,
    sampler: Annotated[str | None, typer.Option(help="ddim or dpm.")] = None,
    frames: Annotated[int | None, typer.Option(help="How many, e.g. 49.")] = None,
    size: Annotated[str | None, typer.Option(metavar="HEIGHTxWIDTH", help="In pixels, e.g. 96x144.")] = None,
    model: Annotated[str, typer.Option(help="A name, a hub id, a folder or a safetensors file.")] = "nano",
    adapter: Annotated[
        list[str] | None, typer.Option(metavar="FILE_OR_NAME[:WEIGHT]", help="A LoRA; may be given several times.")
    ] = None,
    merge_adapters: Annotated[
        bool, typer.Option("--merge-adapters", help="Fold them into the weights: faster, rounded.")
    ] = False,
    style: Style = None,
    mood: Mood = None,
    camera: Camera = None,
    glossary: Glossary = None,
    enhance: Enhance = False,
    enhancer: Enhancer = None,
    enhancer_model: EnhancerModel = None,
    out: Annotated[Path | None, typer.Option(help="An MP4; else a new name from the prompt.")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show each step in a PNG beside the video.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a video from a sentence. What is left out is the model's own choice."""
    from piying.request import Request

    request = Request.model_validate(
        {
            "prompt": prompt,
            "negative": negative,
            "image": image,
            "last_image": last_image,
            "seed": seed,
            "steps": steps,
            "guidance": guidance,
            "guidance_curve": guidance_curve,
            "sampler": sampler,
            "frames": frames,
            "size": read_size(size) if size else None,
            "model": model,
            "adapters": adapter or [],
            "adapters_merged": merge_adapters,
        }
    )
    out = out or output.name_after(prompt, Path())
    output.check(out, ".mp4")
    wanted = Wanted(style, mood, camera, glossary, enhance, enhancer, enhancer_model)
    answer = describe(make(request, out, preview=preview, settle=lambda request: settle(request, wanted)), out)
    if as_json:
        terminal.answer(answer)
    else:
        typer.echo(f"{out}: {answer['frames']} frames, seed {answer['request']['seed']}")


def read_size(text: str) -> tuple[int, int]:
    """96x144 -> (96, 144)."""
    found = re.fullmatch(r"(\d+)[x×](\d+)", text)
    if not found:
        raise UsageError(f"size={text}: write height x width in pixels, e.g. 96x144")
    return int(found[1]), int(found[2])


def make(
    request: "Request", out: Path, *, preview: bool = False, settle: "Callable[[Request], Request] | None" = None
) -> "Video":
    """Loads the model, makes the video with its progress on stderr, and saves it.

    `settle` may change the request once its files are known to be good.
    """
    from piying.video import read_image

    for picture in (request.image, request.last_image):
        if picture is not None:
            read_image(picture)  # refuses a broken file before the model loads

    if settle:
        request = settle(request)

    import piying
    from piying.adapters import file, store

    for use in request.adapters:
        file.read(store.find(use.source, use.sha256).path)  # likewise

    terminal.say(f"loading {request.model}")
    model = piying.load(request.model)
    for line in model.advice(request):
        terminal.say(line)
    warn_of_unknown_words(request, model)
    steps = request.steps or model.checkpoint.config.steps
    with terminal.progress("step", steps) as advance:
        for state in model.stream(request):
            advance(state.step)
            if preview:
                show(state.preview(), out.with_name(f"{out.stem}-preview.png"))
    terminal.say("decoding")
    (video,) = state.videos()
    video.save(out)
    return video


def warn_of_unknown_words(request: "Request", model: "Model") -> None:
    """A model of a small world says which words it never learned, and which it did. Its adapters learned more."""
    from piying.prompts.vocabulary import unknown_words

    words = model.checkpoint.words
    if not words:
        return
    learned = [
        word
        for adapter in model.adapters(request).values()
        for word in (*adapter.triggers, *adapter.aliases, *adapter.aliases.values())
    ]
    if unknown := unknown_words(request.prompt, {name: [*known, *learned] for name, known in words.items()}):
        terminal.say(never_learned(model.name, unknown, words))


def show(picture: "np.ndarray", path: Path) -> None:
    """Replaces the preview in one move, so that a viewer never reads half a file."""
    from PIL import Image

    partial = path.with_suffix(".part.png")
    Image.fromarray(picture).save(partial)
    partial.replace(path)


def describe(video: "Video", out: Path) -> dict[str, Any]:
    """A finished video as the one JSON object."""
    return {
        "video": str(out),
        "frames": len(video.frames),
        "size": list(video.frames.shape[1:3]),
        "fps": video.fps,
        "request": video.request.model_dump(mode="json") if video.request else None,
        "timings": video.timings,
    }
