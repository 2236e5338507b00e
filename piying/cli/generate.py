"""`piying generate "..."`: a sentence becomes a video."""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
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
    from piying.request import FullRequest, Request


class Weights(StrEnum):
    full = "full"
    int8 = "int8"
    fp8 = "fp8"


class Speed(StrEnum):
    exact = "exact"
    fast = "fast"


Memory = Annotated[str, typer.Option(metavar="SIZE", help="What it may take of the GPU, e.g. 8GB; auto: what is free.")]


def generate(
    prompt: Annotated[str | None, typer.Argument(help="What to show, in English or Chinese.")] = None,
    image: Annotated[Path | None, typer.Option(help="The first frame.")] = None,
    last_image: Annotated[Path | None, typer.Option(help="The last frame; with --image.")] = None,
    video: Annotated[Path | None, typer.Option(help="A video to make anew.")] = None,
    strength: Annotated[float | None, typer.Option(help="How much of it: up to 1, all; else 0.8.")] = None,
    continues: Annotated[Path | None, typer.Option("--continue", help="A video to go on from.")] = None,
    clips: Annotated[int | None, typer.Option(help="How many, each going on from the one before; else 1.")] = None,
    seconds: Annotated[float | None, typer.Option(help="As many clips as last so long; with --continue, more.")] = None,
    negative: Annotated[str, typer.Option(help="What to keep away from.")] = "",
    seed: Annotated[int | None, typer.Option(help="One seed gives one video; else drawn.")] = None,
    steps: Annotated[int | None, typer.Option(help="More take longer and look cleaner.")] = None,
    guidance: Annotated[float | None, typer.Option(help="How closely to follow the prompt; 1 is not at all.")] = None,
    guidance_curve: Annotated[str | None, typer.Option(help="constant, published or smooth.")] = None,
    sampler: Annotated[str | None, typer.Option(help="ddim or dpm.")] = None,
    frames: Annotated[int | None, typer.Option(help="How many a clip, e.g. 49.")] = None,
    size: Annotated[str | None, typer.Option(metavar="HEIGHTxWIDTH", help="In pixels, e.g. 96x144.")] = None,
    model: Annotated[
        str | None, typer.Option(help="A name, a hub id, a folder or a safetensors file; else nano.")
    ] = None,
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
    memory: Memory = "auto",
    weights: Annotated[Weights | None, typer.Option(help="In eight bits they take half the memory.")] = None,
    speed: Annotated[Speed | None, typer.Option(help="fast is not the same video, but like it.")] = None,
    out: Annotated[Path | None, typer.Option(help="An MP4; else a new name from the prompt.")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show each step in a PNG beside the video.")] = False,
    save_every: Annotated[
        int | None, typer.Option(min=1, metavar="STEPS", help="Save the state so often, in a folder beside the video.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Go on from a saved state, without a prompt.")
    ] = None,
    gpus: Annotated[int, typer.Option(help="How many work on it: 1, 2 or 4.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a video from a sentence. What is left out is the model's own choice."""
    from piying.request import Request

    told = {
        "prompt": prompt,
        "negative": negative or None,
        "image": image,
        "last_image": last_image,
        "video": video,
        "strength": strength,
        "continues": continues,
        "clips": clips,
        "seconds": seconds,
        "seed": seed,
        "steps": steps,
        "guidance": guidance,
        "guidance_curve": guidance_curve,
        "sampler": sampler,
        "frames": frames,
        "size": read_size(size) if size else None,
        "model": model,
        "adapters": adapter or None,
        "adapters_merged": merge_adapters or None,
        "weights": weights and weights.value,
        "speed": speed and speed.value,
    }
    told = {name: value for name, value in told.items() if value is not None}
    wanted = Wanted(style, mood, camera, glossary, enhance, enhancer, enhancer_model)
    new = out is None
    if resume:
        request: Request = read_saved(resume, told, wanted)
        beside = resume if resume.name.strip(".") else resume.resolve()  # . and .. have no name of their own
        out = out or output.free(beside.with_suffix(".mp4"))
        save_every = save_every or 1
    else:
        request = Request.model_validate({"prompt": "", **told})
        out = out or output.name_after(request.prompt, Path())
    prepare = None if resume else lambda request, aliases: settle(request, wanted, aliases)
    output.check(out, ".mp4", request.video, request.continues)
    if save_every and not resume:
        resume = output.free(out.with_suffix(".resume"))
    answer = make(
        request,
        out,
        memory=memory,
        gpus=gpus,
        preview=preview,
        settle=prepare,
        saved=resume,
        save_every=save_every,
        new=new,
    )
    if as_json:
        terminal.answer(answer)
    else:
        typer.echo(f"{answer['video']}: {answer['frames']} frames, seed {answer['request']['seed']}")


def read_saved(folder: Path, told: dict[str, Any], wanted: Wanted) -> "FullRequest":
    """The request of a saved state. Raises UsageError where something else is told beside it."""
    from piying.request import Request
    from piying.resume import read_request

    for name in ("style", "mood", "camera", "glossary", "enhance"):
        if value := getattr(wanted, name):
            raise UsageError(f"{name}={value}: {folder} goes on with a prompt that is settled; leave it out")
    saved = read_request(folder)
    written = saved.written or saved.prompt
    unmarked = tuple(use.model_copy(update={"sha256": None}) for use in saved.adapters)
    as_told = saved.model_copy(update={"prompt": written, "adapters": unmarked})
    asked = Request.model_validate({"prompt": written, "image": saved.image, "video": saved.video, **told})
    if len(asked.adapters) == len(unmarked):  # a weight that was left open was settled to one of these
        settled = [
            at if at.weight in (0, 1) and use == at.model_copy(update={"weight": None}) else use
            for use, at in zip(asked.adapters, unmarked, strict=True)
        ]
        asked = asked.model_copy(update={"adapters": tuple(settled)})
    for name in told:
        value = getattr(as_told, name)
        if getattr(asked, name) != value:
            value = [str(use) for use in value] if name == "adapters" else value
            raise UsageError(f"{name}={told[name]}: {folder} goes on with {name}={value}; leave it out")
    return saved


def read_size(text: str) -> tuple[int, int]:
    """96x144 -> (96, 144)."""
    found = re.fullmatch(r"(\d+)[x×](\d+)", text)
    if not found:
        raise UsageError(f"size={text}: write height x width in pixels, e.g. 96x144")
    return int(found[1]), int(found[2])


def make(
    request: "Request",
    out: Path,
    *,
    memory: str = "auto",
    preview: bool = False,
    settle: "Callable[[Request, Mapping[str, str]], Request] | None" = None,
    saved: Path | None = None,
    save_every: int | None = None,
    gpus: int = 1,
    new: bool = False,
) -> dict[str, Any]:
    """Loads the model, makes the video with its progress on stderr, writes it clip by clip, and describes it.

    `settle` may change the request once its files are known to be good; it is told the aliases of the adapters.
    `saved` is the folder of its state: what it holds is taken up, and it goes when the video is whole. With `new` the
    video takes the next free name where `out` is another file by then.
    """
    from piying.video import form_of, read_image, writing

    # what is wrong with the request is told before the model loads
    pictures = [path for path in (request.image, request.last_image) if path is not None]
    sides = {path: read_image(path).shape[:2] for path in pictures}
    forms = {path: form_of(path) for path in (request.video, request.continues) if path is not None}

    from piying import resume
    from piying.adapters import file, store
    from piying.settle import settled
    from piying.weights import glance

    settled(request, glance(request.model)[0])
    aliases: dict[str, str] = {}
    for use in request.adapters:
        aliases |= file.read(store.find(use.source, use.sha256).path).aliases
    if settle:
        request = settle(request, aliases)

    import piying

    terminal.say(f"loading {request.model}")
    model = piying.load(request.model, memory=memory, gpus=gpus, weights=request.weights, say=terminal.say)
    for line in model.advice(request):
        terminal.say(line)
    warn_of_unknown_words(request, model)
    full, fps = model.resolve(request), model.checkpoint.config.fps
    for path, (size, rate) in forms.items():
        if size != full.size or rate != fps:
            theirs, ours = (f"{height}x{width}" for height, width in (size, full.size))
            terminal.say(f"{path}: {theirs} at {rate:g} frames a second is scaled and cut to {ours} at {fps}")
    for path, (height, width) in sides.items():
        if height * full.size[1] != width * full.size[0]:
            ours = "x".join(map(str, full.size))
            terminal.say(f"{path}: {height}x{width} is scaled and cut to {ours}")
    if saved and save_every:
        terminal.say(f"the state is kept in {saved}; if this ends early: piying generate --resume {saved}")
    count, made = 0, out

    def place(partial: Path, path: Path) -> None:
        nonlocal made
        made = output.place(partial, path) if new else partial.replace(path)

    with (
        model,
        writing(out, fps, full, place=place) as write,
        terminal.progress("step", full.steps_taken * full.clips) as advance,
    ):
        for frame in model.given(full):
            write(frame[None])
            count += 1
        for state in model.stream(full, saved=saved):
            advance((state.clip - 1) * state.steps + state.step)
            if preview:
                show(state.preview(), out.with_name(f"{out.stem}-preview.png"))
            if saved and save_every and (state.step % save_every == 0 or state.step == state.steps):
                state.save(saved)
            if state.step == state.steps:
                terminal.say(f"decoding clip {state.clip} of {state.clips}" if state.clips > 1 else "decoding")
                (video,) = state.videos()
                write(video.frames)
                count += len(video.frames)
    if saved:
        resume.remove(saved)
    from piying.kernels.attention import attention_in_use

    checkpoint = model.checkpoint
    return {
        "video": str(made),
        "frames": count,
        "size": list(full.size),
        "fps": fps,
        "request": full.model_dump(mode="json"),
        "timings": video.timings,
        "attention": attention_in_use(checkpoint.device, checkpoint.dtype, checkpoint.config.transformer.head_width),
    }


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
