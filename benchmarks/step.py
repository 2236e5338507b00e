"""One guided step at real shapes, ours beside diffusers: `python benchmarks/step.py --members 2b,5b`.

Both hold the same random weights in bfloat16, drawn on the card, and predict v for a guided pair. Ours runs with each
attention back end that works there, with plain math in the place of its kernels, and with its blocks compiled;
diffusers runs as it comes and, but for 1.5, compiled as a whole, with cuDNN's attention where that is there. All are
warmed up, then timed in turn with CUDA events; a row holds the median of its rounds and the peaks of memory while it
ran. Errors are relative L2 distances from diffusers in float32, of fewer frames at the same width.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import table
import torch
from parity_real_shapes import distance, toy, weighted
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from piying import ops
from piying.config import COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_15_5B, ModelConfig
from piying.kernels import attention, machine
from piying.models.transformer import Transformer
from piying.weights.part_json import transformer_json

MEMBERS = {"2b": COGVIDEOX_2B, "5b": COGVIDEOX_5B, "1.5-5b": COGVIDEOX_15_5B}
FEW = 9  # frames, where errors are measured; for 1.5 17
WAYS = ("fa4", "cudnn", "pytorch", "plain", "blocks", "diffusers", "diffusers-compiled")
GIB = 2**30
FASTEST_FIRST = [  # what PyTorch may take: cuDNN knows no bias, and the last takes all
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
Step = Callable[[Tensor], Tensor]


@dataclass
class Way:
    """One way to make a step, and what was measured of it."""

    name: str
    step: Step
    around: Callable[[], Any]  # what has to be so while it runs
    row: table.Row = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)


# --- the models ---


def latents(member: ModelConfig, frames: int, device: torch.device) -> Tensor:
    """Of a guided pair [2 F C H W]."""
    count = (frames - 1) // 4 + 1
    count += -count % member.transformer.patch[0]
    shape = (1, count, member.transformer.in_channels, member.size[0] // 8, member.size[1] // 8)
    x = torch.randn(shape, generator=torch.Generator(device).manual_seed(1), device=device)
    return x.to(torch.bfloat16).expand(2, -1, -1, -1, -1).contiguous()


class Pair:
    """A member with random weights: ours, and diffusers' model on the same memory."""

    def __init__(self, member: ModelConfig, device: torch.device) -> None:
        from diffusers import CogVideoXTransformer3DModel

        config = member.transformer
        self.member, self.device = member, device
        self.ours = weighted(lambda: Transformer(config), device, torch.bfloat16)
        with torch.device(device):
            self.theirs: Any = CogVideoXTransformer3DModel.from_config(transformer_json(config))
        self.theirs.eval().requires_grad_(False).to(torch.bfloat16)
        self.share(self.theirs)
        random = torch.Generator(device).manual_seed(2)
        shape = (2, config.text_tokens, config.text_width)
        self.text = torch.randn(shape, generator=random, device=device).to(torch.bfloat16)
        self.embedded = self.ours.embed_text(self.text)
        self.timestep = torch.tensor([500, 500], device=device)

    def share(self, module: nn.Module) -> None:
        """Our weights, not a copy of them."""
        module.load_state_dict(self.ours.state_dict(), strict=True, assign=True)

    def compiled_blocks(self, backend: str) -> Transformer:
        with torch.device("meta"):
            twin = Transformer(self.member.transformer)
        self.share(twin)
        for block in twin.requires_grad_(False).eval().transformer_blocks:
            block.compile(dynamic=False, backend=backend)
        return twin

    def step_of_ours(self, model: Transformer) -> Step:
        return lambda x: model.predict(x, self.embedded, model.modulations(self.timestep))

    def step_of_theirs(self, model: Callable[..., Any]) -> Step:
        from diffusers import CogVideoXPipeline

        turns: dict[int, Any] = {}

        def step(x: Tensor) -> Tensor:
            frames = x.shape[1]
            if self.member.transformer.positions != "sincos" and frames not in turns:  # their pipeline does it once
                pipeline: Any = SimpleNamespace(vae_scale_factor_spatial=8, transformer=self.theirs)
                prepare = CogVideoXPipeline._prepare_rotary_positional_embeddings
                turns[frames] = prepare(pipeline, *self.member.size, frames, self.device)
            text = self.text.to(x.dtype)
            return model(x, text, self.timestep, image_rotary_emb=turns.get(frames), return_dict=False)[0]

        return step


@contextmanager
def taking(*backends: str, kernels: bool = True) -> Iterator[None]:
    """Only these attention back ends, and kernels or none. Raises RuntimeError where one of them had to be left out."""
    before = attention.BACKENDS, ops.serve
    attention.BACKENDS = tuple(backend for backend in before[0] if backend.name in backends)
    ops.serve = machine.serve if kernels else lambda *tensors: False  # type: ignore[assignment]
    try:
        yield
        if failed := attention._left_out & set(backends):
            raise RuntimeError(f"{', '.join(failed)} does not run here")
    finally:
        attention.BACKENDS, ops.serve = before


@contextmanager
def cudnn_where_it_is(device: torch.device) -> Iterator[None]:
    """For diffusers: cuDNN's attention on the cards where it is the fastest that PyTorch has."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] in (9, 10):
        with sdpa_kernel(FASTEST_FIRST, set_priority=True):
            yield
    else:
        yield


def ways(pair: Pair, names: list[str], compiler: str) -> Iterator[Way]:
    """Those that this machine has."""
    width = pair.member.transformer.head_width
    there = [backend.name for backend in attention.candidates(pair.device, torch.bfloat16, width)]
    fastest = there[:1]
    whole = pair.step_of_ours(pair.ours)
    named = {"fa4": "FlashAttention-4", "cudnn": "cuDNN"}
    for name in names:
        if name in named and named[name] in there:
            yield Way(f"piying, {named[name]}", whole, lambda name=name: taking(named[name]))
        elif name == "pytorch":
            yield Way("piying, PyTorch's attention", whole, taking)
        elif name == "plain":
            yield Way("piying without kernels", whole, lambda: taking(*fastest, kernels=False))
        elif name == "blocks":
            twin = pair.compiled_blocks(compiler)
            yield Way("piying, blocks compiled", pair.step_of_ours(twin), lambda: cudnn_where_it_is(pair.device))
        elif name == "diffusers":
            yield Way("diffusers", pair.step_of_theirs(pair.theirs), lambda: cudnn_where_it_is(pair.device))
        elif name == "diffusers-compiled":
            compiled = torch.compile(pair.theirs, fullgraph=True, backend=compiler)
            yield Way("diffusers, compiled", pair.step_of_theirs(compiled), lambda: cudnn_where_it_is(pair.device))


# --- measuring ---


def tokens_of(member: ModelConfig, x: Tensor) -> int:
    """Text and video tokens of latents [B F C H W]."""
    time, height, width = member.transformer.patch
    return x.shape[1] // time * (x.shape[3] // height) * (x.shape[4] // width) + member.transformer.text_tokens


def work_in(member: ModelConfig, x: Tensor) -> float:
    """TFLOP in the linear layers and the attention of the blocks."""
    config, tokens = member.transformer, tokens_of(member, x)
    linear, attended = 24 * tokens * config.width**2, 4 * tokens**2 * config.width
    return len(x) * config.layers * (linear + attended) / 1e12


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of the device, or of the clock where it is a CPU."""
    if device.type != "cuda":
        began = time.perf_counter()
        work()
        return time.perf_counter() - began
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    work()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / 1000


def release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def warm_up(way: Way, x: Tensor, few: Tensor, reference: Tensor) -> table.Row:
    """The first step with everything that is compiled for it, the memory of the second, the error of a small one."""
    row: table.Row = {}
    with way.around():
        began = time.perf_counter()
        timed(lambda: way.step(x), x.device)
        row["first step, s"] = time.perf_counter() - began
        if x.is_cuda:
            release()
            torch.cuda.reset_peak_memory_stats()
            way.step(x)
            row["allocated, GiB"] = torch.cuda.max_memory_allocated() / GIB
            row["reserved, GiB"] = torch.cuda.max_memory_reserved() / GIB
        if "compiled" not in way.name:  # another shape would be compiled anew
            row["far from float32"] = distance(way.step(few), reference)
    return row


def in_float32(pair: Pair, few: Tensor) -> Tensor:
    """What diffusers predicts in float32; its weights are ours again afterwards."""
    pair.theirs.float()
    reference = pair.step_of_theirs(pair.theirs)(few.float())
    pair.theirs.to(torch.bfloat16)
    pair.share(pair.theirs)
    release()
    return reference


@torch.no_grad()
def measure(name: str, member: ModelConfig, given: argparse.Namespace, rows: table.Table) -> None:
    """All ways of one member, warmed up one by one and then timed in turn."""
    device = torch.device(given.device)
    pair = Pair(member, device)
    few = latents(member, 17 if member.transformer.patch[0] == 2 else FEW, device)
    reference, x = in_float32(pair, few), latents(member, member.frames, device)
    running: list[Way] = []
    names = [way for way in given.ways if way != "diffusers-compiled" or member.transformer.patch[0] == 1 or given.toy]
    for way in ways(pair, names, "eager" if given.toy else "inductor"):
        if rows.time_is_up(given.minutes):
            break
        way.row = rows.attempt({"model": name, "way": way.name}, lambda way=way: warm_up(way, x, few, reference))
        if "error" not in way.row:
            running.append(way)
    for _ in range(given.rounds):
        if rows.time_is_up(given.minutes):
            break
        for way in running:
            with way.around():
                way.seconds.append(timed(lambda way=way: way.step(x), device))
            seconds = statistics.median(way.seconds)
            way.row |= {"seconds": seconds, "rounds": len(way.seconds), "all": way.seconds}
            way.row["TFLOP/s"] = work_in(member, x) / seconds
        for way in running:
            way.row["of the first"] = way.row["seconds"] / running[0].row["seconds"]
            way.row["bar"] = f"{way.name}, {name}"
        rows.save()


# --- the command ---


def listed(known: Any) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: use some of {', '.join(known)}")
        return names

    return read


def members(parser: argparse.ArgumentParser, *usual: str) -> None:
    """The option that names members; all of them where none are usual."""
    default = list(usual or MEMBERS)
    parser.add_argument("--members", type=listed(MEMBERS), default=default, help=f"some of {','.join(MEMBERS)}")


def each(given: argparse.Namespace, rows: table.Table, measure: Callable[..., None]) -> None:
    """Measures member after member while there is time."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for member in given.members:
        if not rows.time_is_up(given.minutes):
            try:
                measure(member, toy(MEMBERS[member]) if given.toy else MEMBERS[member], given, rows)
            except Exception as error:
                rows.fail({"model": member}, error)
            release()
    print(rows.markdown())


TITLE = (
    "One guided step of the transformer (B = 2, 226 text tokens, each member's published shape, bfloat16, random "
    "weights): the median of rounds in turn. Memory counts the weights, which both sides share."
)
COLUMNS = {
    "model": "", "way": "", "seconds": ".3f", "of the first": ".2f", "TFLOP/s": ".0f", "first step, s": ".1f",
    "allocated, GiB": ".2f", "reserved, GiB": ".2f", "far from float32": ".3e", "rounds": "",
}  # fmt: skip


def main() -> None:
    parser = table.options(__doc__, minutes=4)
    members(parser)
    parser.add_argument("--ways", type=listed(WAYS), default=list(WAYS), help=f"some of {','.join(WAYS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--name", default="step", help="of the files, where a run has only some of the members or ways")
    given = table.parse(parser)
    rows = table.Table(given.name, TITLE, COLUMNS, given.out, torch.device(given.device), bars=("bar", "seconds"))
    each(given, rows, measure)


if __name__ == "__main__":
    main()
