"""Every kernel of a step alone, beside plain math: `python benchmarks/step_kernels.py --members 2b,5b`.

Milliseconds at the shape of a guided step in bfloat16, and the share of a copy's bandwidth or a product's rate.
"""

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import table
import torch
import torch.nn.functional as F
from step import each, latents, members, taking, timed, tokens_of
from torch import Tensor, nn

from piying import ops
from piying.config import ModelConfig
from piying.kernels import attention

TITLE = (
    "Kernels alone, at the shape of a guided step in bfloat16. A pass reads or writes a tensor [B N D] once; the share "
    "of a copy counts the passes that are needed, so what is read twice shows. 'And back' is forward and backward."
)
COLUMNS = {
    "model": "", "what": "", "passes": "", "plain, ms": ".3f", "kernel, ms": ".3f", "plain / kernel": ".2f",
    "GB/s": ".0f", "of copy": ".2f", "TFLOP/s": ".0f",
}  # fmt: skip


def steadily(work: Callable[[], Any], device: torch.device, times: int, *, replayed: bool = False) -> float:
    """Milliseconds of one call among many; `replayed` from a CUDA graph, for calls that the device does in less time
    than Python takes to ask for them."""
    work()

    def several() -> None:
        for _ in range(times):
            work()

    run: Callable[[], Any] = several
    if replayed and device.type == "cuda":
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            several()
        run = graph.replay
        run()
    return statistics.median(timed(run, device) for _ in range(3)) / times * 1000


@torch.no_grad()
def measure(name: str, member: ModelConfig, given: argparse.Namespace, rows: table.Table) -> None:
    """Every kernel of one member's step at its shape."""
    device, config = torch.device(given.device), member.transformer
    x = latents(member, member.frames, device)
    text, tokens = config.text_tokens, tokens_of(member, x)
    shape = (2, tokens, config.width)
    random = torch.Generator(device).manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, device=device).to(torch.bfloat16)

    x, change, y = draw(*shape), draw(*shape), draw(*shape)
    gates, modulation, table_out = draw(2, 2, 3, config.width), draw(2, 2, 3, config.width), draw(2, 2, config.width)
    norm, norm_out = (nn.LayerNorm(config.width, device=device, dtype=torch.bfloat16) for _ in range(2))
    norm_q, norm_k = (nn.LayerNorm(config.head_width, 1e-6, device=device, dtype=torch.bfloat16) for _ in range(2))
    for part in (norm, norm_out, norm_q, norm_k):
        part.requires_grad_(False)
    q, k, v = (each.unflatten(-1, (config.heads, -1)) for each in (x, change, y))
    turns = None
    if config.positions != "sincos":
        angles = torch.randn(tokens, config.head_width // 2, generator=random, device=device)
        turns = torch.stack((angles.cos(), angles.sin()), -1)
    gigabytes = x.nbytes / 1e9  # to read or write a tensor [B N D] once
    times = 1 if given.toy else 10
    copy = steadily(lambda: y.copy_(x), device, times, replayed=True)
    rate = 2 * gigabytes / copy * 1000  # GB/s
    rows.add({"model": name, "what": "copy", "passes": 2, "kernel, ms": copy, "GB/s": rate, "of copy": 1.0})

    def memory_bound(what: str, passes: int, work: Callable[[], Any]) -> None:
        def both() -> table.Row:
            with taking(kernels=False):
                plain = steadily(work, device, times, replayed=True)
            with taking():
                kernel = steadily(work, device, times, replayed=True)
            speed = passes * gigabytes / kernel * 1000
            return {
                "plain, ms": plain, "kernel, ms": kernel, "plain / kernel": plain / kernel, "GB/s": speed,
                "of copy": speed / rate,
            }  # fmt: skip

        rows.attempt({"model": name, "what": what, "passes": passes}, both)

    def backward(forward: Callable[..., Any], *inputs: Tensor) -> Callable[[], Any]:
        """Forward and back; what the forward pass takes alone stands in its own row."""

        def work() -> None:
            with torch.enable_grad():
                learned = [each.detach().requires_grad_() for each in inputs]
                made = forward(*learned)
                made = made if isinstance(made, tuple) else (made,)
                torch.autograd.grad(made, learned, pulls[: len(made)])

        pulls = [y.view_as(inputs[0]), change.view_as(inputs[0])]
        return work

    memory_bound("norm, modulated", 2, lambda: ops.adaptive_norm(x, norm, modulation, text))
    memory_bound("residual, norm", 4, lambda: ops.add_and_norm(x, change, gates, norm, modulation, text))
    memory_bound("residual", 3, lambda: ops.add_gated(x, change, modulation, text))
    memory_bound("q and k", 4, lambda: ops.place_heads(q, k, norm_q, norm_k, turns))
    memory_bound("final norms", 2, lambda: ops.final_norm(x, norm, norm_out, table_out, text))
    learning = backward(lambda x: ops.adaptive_norm(x, norm, modulation, text), x)
    memory_bound("norm, modulated, and back", 2 + 3, learning)
    learning = backward(lambda x, change: ops.add_and_norm(x, change, gates, norm, modulation, text), x, change)
    memory_bound("residual, norm, and back", 4 + 5, learning)
    learning = backward(lambda q, k: ops.place_heads(q, k, norm_q, norm_k, turns), q, k)
    memory_bound("q and k, and back", 4 + 6, learning)

    def product_bound(what: str, teraflop: float, work: Callable[[], Any], plain: Callable[[], Any] | None) -> None:
        def both() -> table.Row:
            kernel = steadily(work, device, times if teraflop < 5 else 1)
            row: table.Row = {"kernel, ms": kernel, "TFLOP/s": teraflop / kernel * 1000}
            if plain:
                row["plain, ms"] = steadily(plain, device, times)
                row["plain / kernel"] = row["plain, ms"] / kernel
            return row

        rows.attempt({"model": name, "what": what}, both)

    side = 64 if given.toy else 8192
    square = draw(side, side)
    product_bound(f"product, {side}", 2 * side**3 / 1e12, lambda: square @ square, None)
    wide, narrow = draw(4 * config.width, config.width), draw(config.width, 4 * config.width)
    wide_bias, bias, weight = draw(4 * config.width), draw(config.width), draw(config.width, config.width)
    hidden = ops.widen(x, wide, wide_bias)
    each = 2 * 2 * tokens * config.width**2 / 1e12  # a product with [D D]
    product_bound("linear, D to D", each, lambda: F.linear(x, weight, bias), None)
    product_bound("linear, D to 4 D", 4 * each, lambda: F.linear(x, wide, wide_bias), None)
    product_bound(
        "linear, D to 4 D, GELU",
        4 * each,
        lambda: ops.widen(x, wide, wide_bias),
        lambda: F.gelu(F.linear(x, wide, wide_bias), approximate="tanh"),
    )
    product_bound("linear, 4 D to D", 4 * each, lambda: F.linear(hidden, narrow, bias), None)
    pairs = 4 * 2 * tokens**2 * config.width / 1e12
    backends = attention.candidates(device, torch.bfloat16, config.head_width)
    for backend in (*backends, attention.Backend("PyTorch", attention._pytorch)):
        product_bound(f"attention, {backend.name}", pairs, lambda run=backend.run: run(q, k, v, None), None)
        back = backward(lambda q, k, v, run=backend.run: run(q, k, v, None), q, k, v)
        product_bound(f"attention, {backend.name}, and back", 3.5 * pairs, back, None)
    attended = f"attention, {backends[0].name if backends else 'PyTorch'}"
    spent = {row["what"]: row["kernel, ms"] for row in rows.rows if row["model"] == name and "kernel, ms" in row}
    block = [
        "norm, modulated", *["linear, D to D"] * 4, "q and k", attended, "residual, norm", "linear, D to 4 D, GELU",
        "linear, 4 D to D", "residual",
    ]  # fmt: skip
    if set(block) <= set(spent):
        rows.add(
            {
                "model": name,
                "what": "all of a block, times blocks",
                "kernel, ms": config.layers * sum(map(spent.__getitem__, block)),
            }
        )


def main() -> None:
    parser = table.options(__doc__, minutes=4)
    members(parser)
    given = table.parse(parser)
    each(given, table.Table("kernels", TITLE, COLUMNS, given.out, torch.device(given.device)), measure)


if __name__ == "__main__":
    main()
