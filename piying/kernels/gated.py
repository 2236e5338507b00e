"""A gated residual: x + gate change. Reads two tensors and writes one. Shapes as in `rows`."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from piying.kernels import rows


@triton.jit
def _add(x, change, table, total, tokens, text_tokens, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Without x the gated change alone."""
    first, last, expert = rows.span(tokens, text_tokens)
    gate = rows.told(table, expert, rows.GATE, WIDTH, BLOCK)
    for i in range(rows.ROWS):
        place, there = rows.place(first + i, last, tokens, WIDTH, BLOCK)
        value = gate * tl.load(change + place, mask=there, other=0.0).to(tl.float32)
        if x is not None:
            value += tl.load(x + place, mask=there, other=0.0).to(tl.float32)
        tl.store(total + place, value.to(total.dtype.element_ty), mask=there)


def _launch(x: Tensor | None, change: Tensor, table: Tensor, text_tokens: int) -> Tensor:
    like = change if x is None else x
    total = torch.empty_like(like)
    block, warps = rows.threads(like.shape[-1])
    with rows.on(like):
        _add[rows.grid(like, text_tokens)](
            x, change, table, total, like.shape[1], text_tokens, like.shape[-1], block, num_warps=warps
        )
    return total


class _Add(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, change: Tensor, table: Tensor, text_tokens: int) -> Tensor:
        ctx.save_for_backward(table)
        ctx.text_tokens, ctx.dtype = text_tokens, change.dtype
        return _launch(x, change, table, text_tokens)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (table,) = ctx.saved_tensors
        change = None
        if ctx.needs_input_grad[1]:
            change = _launch(None, grad.contiguous(), table, ctx.text_tokens).to(ctx.dtype)
        return grad, change, None, None


def add(x: Tensor, change: Tensor, table: Tensor, text_tokens: int) -> Tensor:
    """x, change [B N D], table [B 2 3 D] -> [B N D] in the type of x."""
    return _Add.apply(*rows.packed(x, change, table), text_tokens)
