"""`piying plan --model cogvideox-2b --memory 8GB`: what would live where, before anything loads."""

from typing import TYPE_CHECKING, Annotated

import typer

from piying.cli import terminal
from piying.cli.generate import Memory, Weights, read_size
from piying.errors import UsageError

if TYPE_CHECKING:
    from piying import config
    from piying.config import ModelConfig
    from piying.memory.plan import Plan
    from piying.request import FullRequest


def plan(
    model: Annotated[str, typer.Option(help="A name, a hub id or a folder; it need not be here.")] = "nano",
    memory: Memory = "auto",
    frames: Annotated[int | None, typer.Option(help="How many a clip, e.g. 49.")] = None,
    size: Annotated[str | None, typer.Option(metavar="HEIGHTxWIDTH", help="In pixels, e.g. 480x720.")] = None,
    steps: Annotated[int | None, typer.Option(help="For the time that they take.")] = None,
    weights: Annotated[Weights | None, typer.Option(help="In eight bits they take half the memory.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell what of a model would live where on a card of some memory, and what it takes. Nothing is loaded."""
    from piying.kernels.machine import works
    from piying.memory import plan as planning
    from piying.memory.budget import parse
    from piying.memory.calibration import H200, measured

    budget = parse(memory)
    config, kept = model_of(model)
    request = request_of(config, frames, read_size(size) if size else None, steps)
    gpu = has_gpu()
    if budget == "auto":
        if not gpu:
            raise UsageError("memory=auto: there is no GPU here to ask; say how much a card has, e.g. --memory 8GB")
        from piying.memory.budget import card

        budget = card("cuda", 0)
    rates, fused = (measured("cuda"), works(0)) if gpu else (H200, True)
    made = planning.plan(config, request, budget, weights=weights.value if weights else kept, rates=rates, fused=fused)
    if as_json:
        terminal.answer({"model": config.name, "frames": request.frames, "size": list(request.size), **made.plain()})
        return
    for line in table(config, request, made):
        typer.echo(line)


def model_of(name: str) -> "tuple[ModelConfig, config.Weights]":
    """What a model is that is here, and how it keeps its weights; else the member of the family that the name means."""
    from piying.weights import store
    from piying.weights.checkpoint import open_source

    member = store.member(name)
    if member and not store.known(name):
        return member, "full"
    source = open_source(store.find(name))
    return source.config, source.weights


def request_of(
    config: "ModelConfig", frames: int | None, size: tuple[int, int] | None, steps: int | None
) -> "FullRequest":
    """What there is to plan for; the rest of a request takes no memory. Raises UsageError for a wrong shape."""
    from piying.request import FullRequest, check_shape

    request = FullRequest(
        prompt=config.name,
        seed=0,
        steps=config.steps if steps is None else steps,
        guidance=config.guidance,
        guidance_curve=config.guidance_curve,
        sampler=config.sampler,
        frames=config.frames if frames is None else frames,
        size=size or config.size,
    )
    check_shape(request.frames, request.size, config)
    return request


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def table(config: "ModelConfig", request: "FullRequest", plan: "Plan") -> list[str]:
    """A line for each part and each stage, and what they come to."""
    from piying.memory.budget import said
    from piying.memory.calibration import CONTEXT

    height, width = request.size
    text, blocks, vae, pair = plan.layout
    slots = {name: f"streamed, two blocks at a time in {said(size)}" for name, size in plan.slots.items()}
    limit = f", working within {said(plan.vae_limit)}" if plan.vae_limit else ""
    homes = {
        "text encoder": (plan.parts["text"], slots.get("text", text)),
        "transformer": (
            plan.parts["blocks"],
            slots.get("blocks", blocks) + (", the rows of the guided pair apart" if pair == "apart" else ""),
        ),
        "its adaptive norms": (plan.parts["adaptive norms"], "through the card once, tables in host memory"),
        "its rest": (plan.parts["transformer, rest"], "resident"),
        "autoencoder": (plan.parts["vae"], {"fetched": "on the card while it works"}.get(vae, vae) + limit),
    }
    lines = [f"{config.name}, {request.frames} frames of {height}x{width}, {request.steps} steps, {said(plan.memory)}"]
    lines += ["", f"{'part':<20}{'weights':>10}  where"]
    lines += [f"{name:<20}{said(size):>10}  {where}" for name, (size, where) in homes.items()]
    lines += ["", f"{'stage':<20}{'peak':>10}  seconds"]
    lines += [f"{stage.name:<20}{said(stage.peak):>10}  {stage.seconds:.1f}" for stage in plan.stages]
    lines += [
        "",
        f"The card shows {said(plan.taken)} at most, {said(CONTEXT)} of it CUDA's own; about {plan.seconds:.0f} s at"
        f" the rates of {plan.machine}, without loading.",
    ]
    return lines
