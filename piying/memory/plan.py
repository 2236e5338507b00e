"""What would live where, what it would take and how long, said before anything loads.

There are a few ways to lay a model out, from the fastest to the smallest. A plan is the first whose stages all fit:
text (prompts to embeddings), denoise (the steps), decode (latents to frames, or frames to latents). The result is the
same on every rung, up to rounding where rows go apart or the autoencoder works in other bands.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import torch

from piying.config import ModelConfig, Weights
from piying.errors import OutOfMemory
from piying.memory.budget import said
from piying.memory.calibration import CONTEXT, H200, SLACK, WORKSPACE, Rates
from piying.memory.peaks import Sizes
from piying.request import FullRequest

Home = Literal["resident", "streamed"]
StageName = Literal["text", "denoise", "decode"]

STAGES: tuple[StageName, ...] = ("text", "denoise", "decode")


class Layout(NamedTuple):
    """One way to lay a model out."""

    text: Home
    blocks: Home
    vae: Literal["resident", "fetched"]  # fetched: on the card while it works
    pair: Literal["together", "apart"]  # the rows of a guided pair inside a block


LADDER = (
    Layout("resident", "resident", "resident", "together"),
    Layout("streamed", "resident", "fetched", "together"),
    Layout("streamed", "resident", "fetched", "apart"),
    Layout("streamed", "streamed", "fetched", "together"),
    Layout("streamed", "streamed", "fetched", "apart"),
)


@dataclass(frozen=True)
class Stage:
    """One stage: bytes that torch has in use on the card at its peak, and seconds."""

    name: StageName
    peak: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """How a request is made within a limit. All sizes are in bytes."""

    rung: int  # 0 is the fastest
    layout: Layout
    vae_limit: int | None  # what the autoencoder may take for its work; None: as much as it likes
    stages: tuple[Stage, ...]
    parts: dict[str, int]  # the weights of each part
    slots: dict[str, int]  # what two blocks in flight take on the card, where a part is streamed
    memory: int  # the limit, CUDA's own share included
    machine: str  # whose rates the seconds are told with

    @property
    def peak(self) -> int:
        """What torch has in use at the peak."""
        return max(stage.peak for stage in self.stages)

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def taken(self) -> int:
        """What the card shows as taken at the peak: reserves of the allocator and CUDA's own share included."""
        return round(self.peak * SLACK) + CONTEXT

    def told(self) -> str:
        """In a few words."""
        text, blocks, vae, pair = self.layout
        limit = f" within {said(self.vae_limit)}" if self.vae_limit else ""
        rows = ", the rows of the pair apart" if pair == "apart" else ""
        return f"the transformer is {blocks}{rows}, the text encoder {text}, the autoencoder {vae}{limit}"

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        layout = self.layout._asdict()
        return asdict(self) | {"layout": layout, "peak": self.peak, "taken": self.taken, "seconds": self.seconds}


def plan(
    config: ModelConfig,
    request: FullRequest,
    memory: int,
    *,
    weights: Weights = "full",
    rates: Rates = H200,
    fused: bool = True,
) -> Plan:
    """The fastest plan for one video within `memory` bytes of a card, CUDA's own share included. `fused`: whether
    Triton's kernels run there.

    Raises OutOfMemory, with what it takes at least, where none fits.
    """
    sizes = Sizes(config, request, 1, getattr(torch, config.precision), weights, fused)
    found = next(rungs(sizes, memory, rates), None)
    if found is None:
        raise OutOfMemory(too_small(sizes, memory))
    return found


def rungs(
    sizes: Sizes, memory: int, rates: Rates = H200, caps: Mapping[StageName, int] | None = None
) -> Iterator[Plan]:
    """Every plan within a limit, the fastest first. `caps` are peaks that single stages must not exceed either."""
    for rung, layout in enumerate(LADDER):
        if layout.pair == "apart" and sizes.rows == 1:
            continue
        if found := _plan(sizes, rung, layout, memory, caps or {}, rates):
            yield found


def too_small(sizes: Sizes, memory: int) -> str:
    """The line for a person whose card is too small."""
    height, width = sizes.request.size
    return (
        f"memory={said(memory)}: {sizes.request.frames} frames of {height}x{width} with {sizes.config.name} take"
        f" {said(least(sizes))} at least; use fewer frames, a smaller size or a smaller model"
    )


def least(sizes: Sizes) -> int:
    """The smallest limit that holds a plan, to 32 MiB."""
    too_little, enough = 0, 2**25
    while next(rungs(sizes, enough), None) is None:
        too_little, enough = enough, 2 * enough
    while enough - too_little > 2**25:
        middle = (too_little + enough) // 2
        if next(rungs(sizes, middle), None):
            enough = middle
        else:
            too_little = middle
    return enough


def _plan(
    sizes: Sizes, rung: int, layout: Layout, memory: int, caps: Mapping[StageName, int], rates: Rates
) -> Plan | None:
    """The plan of a layout, or None where a stage does not fit."""
    whole = int((memory - CONTEXT) / SLACK)
    room = {name: min(whole, caps.get(name, whole)) for name in STAGES}
    slots = {"text": 2 * sizes.text_block, "blocks": 2 * sizes.block}
    slots = {name: size for name, size in slots.items() if getattr(layout, name) == "streamed"}
    held = sizes.small + sizes.adapters
    held += sizes.text if layout.text == "resident" else 0
    held += sizes.blocks if layout.blocks == "resident" else 0
    held += sizes.vae if layout.vae == "resident" else 0
    text = held + slots.get("text", 0) + sizes.reading + sizes.embedding + WORKSPACE
    denoise = held + slots.get("blocks", 0) + sizes.denoising(apart=layout.pair == "apart")
    decode = held + (sizes.vae if layout.vae == "fetched" else 0) + sizes.decoding
    if text > room["text"] or denoise > room["denoise"]:
        return None
    limit = None if decode + sizes.autoencoding(None) <= room["decode"] else room["decode"] - decode
    try:
        decode += sizes.autoencoding(limit)
    except OutOfMemory:
        return None
    stages = zip(STAGES, (text, denoise, decode), _seconds(sizes, layout, rates), strict=True)
    parts = {
        "text": sizes.text,
        "blocks": sizes.blocks,
        "adaptive norms": sizes.adaptive,
        "transformer, rest": sizes.small,
        "vae": sizes.vae,
    }
    return Plan(rung, layout, limit, tuple(Stage(*stage) for stage in stages), parts, slots, memory, rates.name)


def _seconds(sizes: Sizes, layout: Layout, rates: Rates) -> tuple[float, float, float]:
    """Of each stage, without what it takes to load. A copy hides behind the computation, or the other way round."""
    reading = sizes.rows * sizes.config.transformer.text_tokens * sizes.text / rates.matrix
    if layout.text == "streamed":
        reading = max(reading, sizes.text / min(rates.gather, rates.copy))
    products, attention = sizes.step_flops
    step = products / rates.matrix + attention / rates.attention
    if layout.blocks == "streamed":
        step = max(step, sizes.blocks / rates.copy) + sizes.block / rates.copy  # nothing hides the first one
    decode = sizes.decode_flops / rates.convolution
    if layout.vae == "fetched":
        decode += sizes.vae / min(rates.gather, rates.copy)
    return reading, sizes.request.steps_taken * step, decode
