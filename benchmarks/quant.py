"""Weights and products of eight bits at real shapes: `python benchmarks/quant.py --members 2b,5b`.

A guided step with random weights: as they are in bfloat16; with int8 and float8 weights that become bfloat16 for each
product; and with products of eight bits, from weights kept in bfloat16 and in float8. A row holds the median of its
rounds, the peak of memory, the bytes of all blocks, and the error: the relative L2 distance from the same full weights
in float32, of fewer frames at the same width. `fast` is what a whole video gains: its share of asked steps times the
step with products of eight bits, over the exact one.
"""

import argparse
import statistics
from collections.abc import Iterator

import table
import torch
from parity_real_shapes import distance, weighted
from step import FEW, GIB, each, latents, members, release, timed
from torch import Tensor, nn

from piying import ops
from piying.config import ModelConfig, Weights
from piying.memory.lend import tensors_of
from piying.models import quant
from piying.models.transformer import Transformer
from piying.sampling.reuse import asked

COLUMNS = {
    "model": "", "way": "", "seconds": ".4f", "of bfloat16": ".3f", "allocated, GiB": ".2f", "blocks, GiB": ".2f",
    "far from float32": ".2e", "first step, s": ".1f",
}  # fmt: skip
WAYS: tuple[tuple[str, Weights, bool], ...] = (  # the name, how weights are kept, whether products are of eight bits
    ("bfloat16", "full", False),
    ("int8 weights", "int8", False),
    ("fp8 weights", "fp8", False),
    ("fp8 products", "full", True),
    ("fp8 products and weights", "fp8", True),
)


class Step:
    """One guided step of a member with random weights."""

    def __init__(self, member: ModelConfig, device: torch.device) -> None:
        self.member, self.device = member, device
        self.model = weighted(lambda: Transformer(member.transformer), device, torch.bfloat16)
        self.full = {name: layer.weight for name, layer in quant.products(self.model).items()}
        random, config = torch.Generator(device).manual_seed(2), member.transformer
        text = torch.randn(2, config.text_tokens, config.text_width, generator=random, device=device)
        self.text = text.to(torch.bfloat16)
        self.timestep = torch.tensor([500, 500], device=device)

    def __call__(self, x: Tensor) -> Tensor:
        return self.model(x, self.text.to(x.dtype), self.timestep)

    def keep(self, kind: Weights) -> None:
        """Keeps the weights so, always made from the full ones."""
        for name, layer in quant.products(self.model).items():
            layer.weight, layer.weight_scale = self.full[name], None
            if kind != "full":
                values, layer.weight_scale = quant.quantise(self.full[name], kind)
                layer.weight = nn.Parameter(values, requires_grad=False)

    def blocks(self) -> int:
        blocks = self.model.transformer_blocks
        return sum(tensor.nbytes for name, tensor in tensors_of(blocks).items() if ".linear." not in name)

    def in_float32(self, x: Tensor) -> Tensor:
        self.model.float()
        reference = self(x.float())
        self.model.to(torch.bfloat16)
        self.full = {name: layer.weight for name, layer in quant.products(self.model).items()}
        release()
        return reference


def ways(device: torch.device, *, toy: bool) -> Iterator[tuple[str, Weights, bool]]:
    """Those that this device has; on a CPU products of eight bits are plain math, and told at toy size alone."""
    for way in WAYS:
        if not way[2] or toy or ops.multiplies_narrow(device):
            yield way


@torch.no_grad()
def measure(name: str, member: ModelConfig, given: argparse.Namespace, rows: table.Table) -> None:
    device = torch.device(given.device)
    step = Step(member, device)
    few = latents(member, 17 if member.transformer.patch[0] == 2 else FEW, device)
    reference, x = step.in_float32(few), latents(member, member.frames, device)
    exact: float | None = None
    for way, kind, narrow in ways(device, toy=given.toy):
        if rows.time_is_up(given.minutes):
            return

        def run(way: str = way, kind: Weights = kind, narrow: bool = narrow, exact: float | None = exact) -> table.Row:
            step.keep(kind)
            release()
            for layer in quant.products(step.model).values():
                layer.narrow = narrow
            row: table.Row = {"far from float32": distance(step(few), reference), "blocks, GiB": step.blocks() / GIB}
            row["first step, s"] = timed(lambda: step(x), device)
            if device.type == "cuda":
                held = sum(weight.nbytes for weight in step.full.values()) if kind != "full" else 0
                torch.cuda.reset_peak_memory_stats()
                step(x)
                row["allocated, GiB"] = (torch.cuda.max_memory_allocated() - held) / GIB  # the full ones wait beside
            row["all"] = [timed(lambda: step(x), device) for _ in range(given.rounds)]
            row["seconds"] = statistics.median(row["all"])
            if exact:
                row["of bfloat16"] = row["seconds"] / exact
            row["bar"] = f"{way}, {name}"
            return row

        row = rows.attempt({"model": name, "way": way}, run)
        exact = exact or row.get("seconds")
        if exact and narrow and kind == "full" and "seconds" in row:
            asks = asked(member.steps)
            seconds = row["seconds"] * sum(asks) / len(asks)
            told = {"seconds": seconds, "of bfloat16": seconds / exact, "bar": f"fast, a step of {len(asks)}, {name}"}
            rows.add({"model": name, "way": f"fast: {sum(asks)} of {len(asks)} steps asked, a step on average"} | told)


def main() -> None:
    parser = table.options(__doc__, minutes=3)
    members(parser, "2b", "5b")
    parser.add_argument("--rounds", type=int, default=5)
    given = table.parse(parser)
    title = "A guided step with weights and products of eight bits: random weights at each member's published shape."
    device = torch.device(given.device)
    each(given, table.Table("quant", title, COLUMNS, given.out, device, bars=("bar", "seconds"), ours="fast"), measure)


if __name__ == "__main__":
    main()
