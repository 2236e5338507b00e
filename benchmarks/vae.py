"""The autoencoder at real shapes, ours beside diffusers: `python benchmarks/vae.py`.

Random weights of the published shape in bfloat16, the same on both sides. Decode and encode of 49x480x720, and of
81x768x1360 while there is time: ours without a limit and within some, diffusers whole and in tiles (which is another
result). The sides take turns after a run to warm up; a time is the median of CUDA events. Peaks are those of a call,
weights included; beside ours stands the one that was predicted. Distances (relative L2) are from float32, at a smaller
size.
"""

import gc
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")  # it warns of each change of precision

import table
import torch
from torch import Tensor

from piying.config import VAEConfig
from piying.errors import OutOfMemory
from piying.kernels.machine import serve
from piying.models import vae_memory
from piying.models.vae import VAE
from piying.models.vae_memory import Call
from piying.weights.part_json import vae_json

GIB = 1 << 30
REPEATS = 2
COLUMNS = {
    "task": "",
    "who": "",
    "shape": "",
    "seconds": ".3f",
    "times as fast": ".2f",
    "peak GiB": ".2f",
    "reserved GiB": ".2f",
    "predicted GiB": ".2f",
    "of their memory": ".2f",
    "distance": ".2e",
    "TFLOP/s": ".0f",
    "TFLOP/s, tuned": ".0f",
}


@dataclass(frozen=True)
class Shape:
    frames: int
    size: tuple[int, int]
    limits: tuple[float, ...]  # GiB beside the weights

    def __str__(self) -> str:
        return "x".join(map(str, (self.frames, *self.size)))


REAL = [Shape(49, (480, 720), (3, 2)), Shape(81, (768, 1360), (8,))]
SMALL = Shape(17, (192, 272), ())  # where errors are measured
TOY = [Shape(17, (96, 80), (0.035,))]
TOY_CONFIG = VAEConfig(channels=(32, 64, 64, 64), blocks=1, groups=8)


@dataclass(frozen=True)
class Way:
    """One side, and how it is to run."""

    who: str
    run: Callable[[Tensor], Tensor]
    limit: int | None = None
    band: int | None = None


def main() -> None:
    parser = table.options(__doc__, minutes=3)
    parser.add_argument("--bands", type=int, nargs="*", default=[], metavar="MIB", help="sizes of bands to try as well")
    arguments = table.parse(parser)
    device = torch.device(arguments.device)
    config, shapes = (TOY_CONFIG, TOY) if arguments.toy else (VAEConfig(), REAL)
    small = replace(TOY[0], frames=9) if arguments.toy else SMALL
    rows = table.Table(
        "vae",
        "The autoencoder in bfloat16, random weights, ours beside diffusers; peaks with its weights.",
        COLUMNS,
        arguments.out,
        device,
        bars=("label", "seconds"),
    )
    with torch.inference_mode():
        sides = Sides(config, device)
        errors = sides.errors(small)
        for shape in shapes:
            for task in ("decode", "encode"):
                if not rows.time_is_up(arguments.minutes):
                    compare(rows, sides, task, shape, errors, arguments.bands)
        if device.type == "cuda" and not rows.time_is_up(arguments.minutes):
            convolutions(rows, device)


class Sides:
    """Both networks with the same weights."""

    def __init__(self, config: VAEConfig, device: torch.device) -> None:
        from diffusers import AutoencoderKLCogVideoX

        torch.manual_seed(0)
        self.config, self.device = config, device
        with torch.device("meta"):
            ours = VAE(config)
        self.ours = ours.to(torch.bfloat16).to_empty(device=device).requires_grad_(False)
        for parameter in self.ours.parameters():  # a variance of one over the inputs; norms about one
            spread = 0.1 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
            parameter.normal_(0, spread)
        for name, parameter in self.ours.named_parameters():
            if name.endswith("norm_layer.weight") or (parameter.ndim == 1 and ".norm" in name and "weight" in name):
                parameter.add_(1)
        self.theirs = self._diffusers(AutoencoderKLCogVideoX)
        self.weights = sum(p.numel() * p.element_size() for p in self.ours.parameters())

    def _diffusers(self, network: Any) -> Any:
        """With our very weights, not a copy of them, so that each side's peak holds them once."""
        with torch.device("meta"):
            theirs = network.from_config(vae_json(self.config, (480, 720)))
        theirs.load_state_dict(self.ours.state_dict(), strict=True, assign=True)
        return theirs.eval()

    def ways(self, task: str, limits: tuple[float, ...]) -> list[Way]:
        """Theirs first: what others are compared with."""

        def ours(limit: int | None) -> Callable[[Tensor], Tensor]:
            if task == "decode":
                return lambda x: self.ours.decode(x, limit=limit)
            return lambda x: torch.cat(self.ours.encode(x, limit=limit), dim=1)

        def theirs(tiled: bool) -> Callable[[Tensor], Tensor]:
            def run(x: Tensor) -> Tensor:
                self.theirs.enable_tiling() if tiled else self.theirs.disable_tiling()
                return (
                    self.theirs.decode(x).sample if task == "decode" else self.theirs.encode(x).latent_dist.parameters
                )

            return run

        made = [Way("diffusers", theirs(False)), Way("diffusers, tiled", theirs(True)), Way("piying", ours(None))]
        made += [Way(f"piying within {limit:g} GiB", ours(int(limit * GIB)), int(limit * GIB)) for limit in limits]
        return made

    def given(self, task: str, shape: Shape) -> Tensor:
        random, (height, width) = torch.Generator(self.device).manual_seed(1), shape.size
        kind = {"generator": random, "device": self.device}
        if task == "encode":
            return (torch.rand(1, 3, shape.frames, height, width, **kind) * 2 - 1).bfloat16()
        cells = (1, self.config.latent_channels, (shape.frames - 1) // 4 + 1, height // 8, width // 8)
        return torch.randn(cells, **kind).bfloat16()

    def errors(self, shape: Shape) -> dict[tuple[str, str], float]:
        """Of each way from diffusers in float32, by task and name; a limit is the one of this shape."""
        found = {}
        for task in ("decode", "encode"):
            x = self.given(task, shape)
            results = {way.who.partition(" within")[0]: way.run(x).float() for way in self.ways(task, ())}
            results["piying within"] = self.ways(task, (self.tight(task, shape),))[-1].run(x).float()
            whole, self.theirs = self.theirs, self.float32()
            reference = self.ways(task, ())[0].run(x.float())
            self.theirs = whole
            for who, result in results.items():
                found[task, who] = ((result - reference).norm() / reference.norm()).item()
        release()
        return found

    def tight(self, task: str, shape: Shape) -> float:
        """A limit in GiB near the least that will do."""
        call, gib = self.call(task, shape), 0.0
        while True:
            gib += vae_memory.peak(call) / GIB / 20
            with suppress(OutOfMemory):
                vae_memory.plan(call, int(gib * GIB))
                return gib

    def float32(self) -> Any:
        from diffusers import AutoencoderKLCogVideoX

        torch.backends.cudnn.allow_tf32 = False
        with torch.device("meta"):
            network = AutoencoderKLCogVideoX.from_config(vae_json(self.config, (480, 720)))
        state = {name: value.float() for name, value in self.ours.state_dict().items()}
        network.load_state_dict(state, strict=True, assign=True)
        return network.eval()

    def call(self, task: Any, shape: Shape) -> Call:
        kernels, kind = serve(self.ours.decoder.conv_in.conv.weight), self.device.type
        return Call(
            task=task, config=self.config, frames=shape.frames, size=shape.size, dtype=torch.bfloat16, device=kind,
            kernels=kernels,
        )  # fmt: skip


def compare(
    rows: table.Table, sides: Sides, task: str, shape: Shape, errors: dict[tuple[str, str], float], bands: list[int]
) -> None:
    """All ways of one task and shape: each once to warm up, then in turns."""
    x = sides.given(task, shape)
    ways = sides.ways(task, shape.limits)
    ways += [replace(ways[2], who=f"piying, bands of {band} MiB", band=band << 20) for band in bands]
    times: dict[str, list[float]] = {way.who: [] for way in ways}
    failed: dict[str, Exception] = {}
    peaks = {}
    for turn in range(1 + REPEATS):
        for way in ways:
            if way.who not in failed:
                try:
                    taken, peaks[way.who] = one(way, x, sides)
                except Exception as error:  # becomes a row
                    failed[way.who] = error
                else:
                    times[way.who] += [taken] * (turn > 0)
    base = None if "diffusers" in failed else statistics.median(times["diffusers"])
    for way in ways:
        labels = {"task": task, "who": way.who, "shape": str(shape), "label": f"{way.who}: {task} {shape}"}

        def measured(way: Way = way) -> table.Row:
            if way.who in failed:
                raise failed[way.who]
            taken = statistics.median(times[way.who])
            row: table.Row = {"seconds": taken, "all seconds": times[way.who], **peaks[way.who]}
            row["distance"] = errors.get((task, "piying within" if way.limit else way.who))
            if base:
                row["times as fast"] = base / taken
            if base and "peak GiB" in row:
                row["of their memory"] = row["peak GiB"] / peaks["diffusers"]["peak GiB"]
            if way.who.startswith("piying"):
                with banded(way):
                    row["predicted GiB"] = (vae_memory.peak(sides.call(task, shape), way.limit) + sides.weights) / GIB
            return row

        rows.attempt(labels, measured)


@contextmanager
def banded(way: Way) -> Iterator[None]:
    """With bands of another size, where the way asks for it."""
    usual = vae_memory.BAND
    vae_memory.BAND = way.band or usual
    yield
    vae_memory.BAND = usual


def one(way: Way, x: Tensor, sides: Sides) -> tuple[float, table.Row]:
    """Seconds of one run, and its memory where that is a card."""
    if x.device.type != "cuda":
        with banded(way):
            return seconds(way, x), {}
    release()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with banded(way):
        taken = seconds(way, x)
    peak = torch.cuda.max_memory_allocated() - before + sides.weights
    return taken, {"peak GiB": peak / GIB, "reserved GiB": torch.cuda.max_memory_reserved() / GIB}


def seconds(way: Way, x: Tensor) -> float:
    if x.device.type != "cuda":
        began = time.perf_counter()
        way.run(x)
        return time.perf_counter() - began
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()
    way.run(x)
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1000


def convolutions(rows: table.Table, device: torch.device) -> None:
    """The rate of each wide convolution as bands run it: with it as the floor one sees what else takes time."""
    for frames, height, width, channels, out in (
        (8, 60, 720, 128, 128),
        (8, 240, 720, 128, 128),
        (8, 60, 720, 256, 128),
        (8, 120, 360, 256, 256),
        (4, 120, 180, 512, 256),
        (2, 60, 90, 512, 512),
    ):
        seen = torch.randn(1, frames + 2, height + 2, width, channels, device=device).bfloat16().permute(0, 4, 1, 2, 3)
        weight = torch.randn(out, channels, 3, 3, 3, device=device).bfloat16()
        label = f"{channels} to {out} channels, {frames}x{height}x{width}"

        def measured(seen: Tensor = seen, weight: Tensor = weight) -> table.Row:
            way = Way("convolution", lambda x: torch.nn.functional.conv3d(x, weight, padding=(0, 0, 1)))
            row: table.Row = {}
            for name, tuned in (("TFLOP/s", False), ("TFLOP/s, tuned", True)):  # as cuDNN guesses, as it measures
                with torch.backends.cudnn.flags(benchmark=tuned, allow_tf32=False):
                    work = 2 * 27 * weight.shape[1] * way.run(seen).numel()
                    taken = statistics.median(seconds(way, seen) for _ in range(10))
                row |= {"seconds": taken, name: work / taken / 1e12}
            return row

        rows.attempt({"task": "convolution", "who": label, "shape": label}, measured)


def release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
