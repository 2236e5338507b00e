"""The two norms before the output, back to back, the second scaled and shifted: reads one tensor and writes one.

y = (norm(norm(x) weight + bias) weight' + bias') (1 + scale) + shift
"""

import triton
import triton.language as tl
from torch import Tensor

from piying.kernels import rows


@triton.jit
def _forward(
    x, table, weight, bias, weight_out, bias_out, y, tokens, skipped, eps, eps_out,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    batch, column = tl.program_id(1), tl.arange(0, BLOCK)
    inside = column < WIDTH
    first = tl.program_id(0) * rows.ROWS
    inner = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    lift = tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    stretch = 1 + tl.load(table + (batch * 2 + 1) * WIDTH + column, mask=inside, other=0.0).to(tl.float32)
    factor = tl.load(weight_out + column, mask=inside, other=0.0).to(tl.float32) * stretch
    offset = tl.load(bias_out + column, mask=inside, other=0.0).to(tl.float32) * stretch
    offset += tl.load(table + batch * 2 * WIDTH + column, mask=inside, other=0.0).to(tl.float32)
    for i in range(rows.ROWS):
        source, _ = rows.place(first + skipped + i, 0, tokens + skipped, WIDTH, BLOCK)
        target, there = rows.place(first + i, tokens, tokens, WIDTH, BLOCK)
        unit, _ = rows.normed(tl.load(x + source, mask=there, other=0.0).to(tl.float32), eps, WIDTH, BLOCK)
        unit, _ = rows.normed(unit * inner + lift, eps_out, WIDTH, BLOCK)
        tl.store(y + target, (unit * factor + offset).to(y.dtype.element_ty), mask=there)


def final_norm(
    x: Tensor, table: Tensor, inner: tuple[Tensor, Tensor, float], outer: tuple[Tensor, Tensor, float], skipped: int
) -> Tensor:
    """x [B L+T D] and the number L of rows to leave out, table [B 2 D] of shift and scale, and weight, bias [D] and eps
    of each norm -> [B T D] in the type of x. Knows no gradients."""
    x, table, weight, bias, weight_out, bias_out = rows.packed(x, table, *inner[:2], *outer[:2])
    batch, tokens, width = x.shape
    y = x.new_empty(batch, tokens - skipped, width)
    block, warps = rows.threads(width)
    with rows.on(x):
        _forward[(triton.cdiv(tokens - skipped, rows.ROWS.value), batch)](
            x, table, weight, bias, weight_out, bias_out, y, tokens - skipped, skipped, inner[2], outer[2],
            width, block, num_warps=warps,
        )  # fmt: skip
    return y
