"""LayerNorm, scaled and shifted as the timestep says, alone or behind a gated residual. Shapes as in `rows`.

    total = x + gate change
    y = (norm(total) weight + bias) (1 + scale) + shift

Everything is computed in float32 and rounded once; the norm sees `total` as it is stored. Alone it reads one tensor
and writes one, behind a residual it reads two and writes two.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from piying.kernels import rows


@triton.jit
def _forward(
    x, change, gates, table, weight, bias, total, y, tokens, text_tokens, eps, WIDTH: tl.constexpr, BLOCK: tl.constexpr
):
    first, last, expert = rows.span(tokens, text_tokens)
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    stretch = 1 + rows.told(table, expert, rows.SCALE, WIDTH, BLOCK)
    factor = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32) * stretch
    offset = tl.load(bias + column, mask=inside, other=0.0).to(tl.float32) * stretch
    offset += rows.told(table, expert, rows.SHIFT, WIDTH, BLOCK)
    if change is not None:
        gate = rows.told(gates, expert, rows.GATE, WIDTH, BLOCK)
    for i in range(rows.ROWS):
        place, there = rows.place(first + i, last, tokens, WIDTH, BLOCK)
        value = tl.load(x + place, mask=there, other=0.0).to(tl.float32)
        if change is not None:
            value += gate * tl.load(change + place, mask=there, other=0.0).to(tl.float32)
            stored = value.to(total.dtype.element_ty)
            tl.store(total + place, stored, mask=there)
            value = stored.to(tl.float32)
        unit, _ = rows.normed(value, eps, WIDTH, BLOCK)
        tl.store(y + place, (unit * factor + offset).to(y.dtype.element_ty), mask=there)


@triton.jit
def _backward(
    x, gates, table, weight, grad_total, grad_y, grad_x, grad_change, tokens, text_tokens, eps,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """x is what was normed. Without gates there was no residual, and no gradient but that of y."""
    first, last, expert = rows.span(tokens, text_tokens)
    column = tl.arange(0, BLOCK)
    inside = column < WIDTH
    factor = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    factor *= 1 + rows.told(table, expert, rows.SCALE, WIDTH, BLOCK)
    if gates is not None:
        gate = rows.told(gates, expert, rows.GATE, WIDTH, BLOCK)
    for i in range(rows.ROWS):
        place, there = rows.place(first + i, last, tokens, WIDTH, BLOCK)
        unit, spread = rows.normed(tl.load(x + place, mask=there, other=0.0).to(tl.float32), eps, WIDTH, BLOCK)
        pull = factor * tl.load(grad_y + place, mask=there, other=0.0).to(tl.float32)
        along = tl.sum(pull * unit, 0) / WIDTH
        pull = spread * (pull - tl.sum(pull, 0) / WIDTH - unit * along)
        if gates is not None:
            pull += tl.load(grad_total + place, mask=there, other=0.0).to(tl.float32)
            tl.store(grad_change + place, (gate * pull).to(grad_change.dtype.element_ty), mask=there)
        tl.store(grad_x + place, pull.to(grad_x.dtype.element_ty), mask=there)


def _run(
    x: Tensor, change: Tensor | None, gates: Tensor | None, table: Tensor, weight: Tensor, bias: Tensor,
    text_tokens: int, eps: float,
) -> tuple[Tensor | None, Tensor]:  # fmt: skip
    """The sum, where there is one, and its norm."""
    total, y = None if change is None else torch.empty_like(x), torch.empty_like(x)
    width, (block, warps) = x.shape[-1], rows.threads(x.shape[-1])
    with rows.on(x):
        _forward[rows.grid(x, text_tokens)](
            x, change, gates, table, weight, bias, total, y, x.shape[1], text_tokens, eps, width, block, num_warps=warps
        )
    return total, y


def _run_backward(
    x: Tensor, gates: Tensor | None, table: Tensor, weight: Tensor, grad_total: Tensor | None, grad_y: Tensor,
    text_tokens: int, eps: float, change: torch.dtype | None,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """The gradients of the first tensor and, where there was a residual, of the change in its type."""
    grad_x = torch.empty_like(x)
    grad_change = None if change is None else torch.empty_like(x, dtype=change)
    width, (block, warps) = x.shape[-1], rows.threads(x.shape[-1])
    with rows.on(x):
        _backward[rows.grid(x, text_tokens)](
            x, gates, table, weight, grad_total, grad_y, grad_x, grad_change, x.shape[1], text_tokens, eps,
            width, block, num_warps=warps,
        )  # fmt: skip
    return grad_x, grad_change


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, table: Tensor, weight: Tensor, bias: Tensor, text_tokens: int, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, table, weight)
        ctx.text_tokens, ctx.eps = text_tokens, eps
        return _run(x, None, None, table, weight, bias, text_tokens, eps)[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, table, weight = ctx.saved_tensors
        grad_x, _ = _run_backward(x, None, table, weight, None, grad.contiguous(), ctx.text_tokens, ctx.eps, None)
        return grad_x, None, None, None, None, None


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, change: Tensor, gates: Tensor, table: Tensor, weight: Tensor, bias: Tensor,
        text_tokens: int, eps: float,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        total, y = _run(x, change, gates, table, weight, bias, text_tokens, eps)
        assert total is not None
        ctx.save_for_backward(total, gates, table, weight)
        ctx.text_tokens, ctx.eps, ctx.change = text_tokens, eps, change.dtype
        return total, y

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor, grad_y: Tensor) -> tuple[Tensor | None, ...]:
        total, gates, table, weight = ctx.saved_tensors
        grad_total, grad_y = grad_total.contiguous(), grad_y.contiguous()
        grads = _run_backward(total, gates, table, weight, grad_total, grad_y, ctx.text_tokens, ctx.eps, ctx.change)
        return *grads, None, None, None, None, None, None


def norm(x: Tensor, table: Tensor, weight: Tensor, bias: Tensor, text_tokens: int, eps: float) -> Tensor:
    """x [B N D], table [B 2 3 D], weight and bias [D] -> [B N D] in the type of x."""
    return _Norm.apply(*rows.packed(x, table, weight, bias), text_tokens, eps)


def add_norm(
    x: Tensor, change: Tensor, gates: Tensor, table: Tensor, weight: Tensor, bias: Tensor, text_tokens: int, eps: float
) -> tuple[Tensor, Tensor]:
    """x + gate change and its norm, both [B N D] in the type of x. The gates stand in a table of their own."""
    return _AddNorm.apply(*rows.packed(x, change, gates, table, weight, bias), text_tokens, eps)
