"""q and k, normed for each head and turned by their positions, in one launch.

Reads both as the projections gave them, [B N H C], and writes them as attention wants them, which is the same layout.
A program takes some dozens of heads, each in two halves: the first and the second channel of every pair that is turned.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from piying.kernels import rows

HEADS = 64  # of a program: 32 values of q and of k for each thread


@triton.jit
def _halves(value):
    """[.. C] in float32 as the first and the second channel of each pair [.. C/2]."""
    return tl.split(tl.reshape(value.to(tl.float32), (value.shape[0], value.shape[1] // 2, 2)))


@triton.jit
def _pairs(pointer, place, inside):
    return _halves(tl.load(pointer + place, mask=inside, other=0.0))


@triton.jit
def _store(pointer, place, inside, first, second):
    value = tl.reshape(tl.join(first, second), (first.shape[0], first.shape[1] * 2))
    tl.store(pointer + place, value.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def _normed(first, second, eps, WIDTH: tl.constexpr):
    """Both halves of heads with mean 0 and variance 1, and the factor that did the latter."""
    mean = (tl.sum(first, 1) + tl.sum(second, 1)) / WIDTH
    first, second = first - mean[:, None], second - mean[:, None]
    factor = tl.rsqrt((tl.sum(first * first, 1) + tl.sum(second * second, 1)) / WIDTH + eps)[:, None]
    return first * factor, second * factor, factor


@triton.jit
def _forward_one(
    x, weight, bias, out, place, inside, channel, cos, sin, eps, WIDTH: tl.constexpr, TURNED: tl.constexpr
):
    first, second = _pairs(x, place, inside)
    first, second, _ = _normed(first, second, eps, WIDTH)
    stretch_first, stretch_second = _halves(tl.load(weight + channel))
    shift_first, shift_second = _halves(tl.load(bias + channel))
    first, second = first * stretch_first + shift_first, second * stretch_second + shift_second
    if TURNED:
        first, second = first * cos - second * sin, first * sin + second * cos
    _store(out, place, inside, first, second)


@triton.jit
def _backward_one(
    x, weight, grad, out, place, inside, channel, cos, sin, eps, WIDTH: tl.constexpr, TURNED: tl.constexpr
):
    first, second = _pairs(x, place, inside)
    first, second, factor = _normed(first, second, eps, WIDTH)
    grad_first, grad_second = _pairs(grad, place, inside)
    if TURNED:  # back
        grad_first, grad_second = grad_first * cos + grad_second * sin, grad_second * cos - grad_first * sin
    stretch_first, stretch_second = _halves(tl.load(weight + channel))
    grad_first, grad_second = grad_first * stretch_first, grad_second * stretch_second
    mean = ((tl.sum(grad_first, 1) + tl.sum(grad_second, 1)) / WIDTH)[:, None]
    along = ((tl.sum(grad_first * first, 1) + tl.sum(grad_second * second, 1)) / WIDTH)[:, None]
    grad_first = factor * (grad_first - mean - first * along)
    grad_second = factor * (grad_second - mean - second * along)
    _store(out, place, inside, grad_first, grad_second)


@triton.jit
def _places(turns, count, tokens, heads, WIDTH: tl.constexpr, HEADS: tl.constexpr, TURNED: tl.constexpr):
    """Where this program's heads lie, which of them there are, their channels, and the turn of each pair."""
    head = tl.program_id(0).to(tl.int64) * HEADS + tl.arange(0, HEADS)
    channel = tl.arange(0, WIDTH)[None, :]
    place = head[:, None] * WIDTH + channel
    inside = (head < count)[:, None]
    cos, sin = 1.0, 0.0
    if TURNED:
        row = ((head // heads) % tokens)[:, None]
        cos, sin = _halves(tl.load(turns + row * WIDTH + channel))
    return place, inside, channel, cos, sin


@triton.jit
def _forward(
    q, k, weight_q, bias_q, weight_k, bias_k, turns, out_q, out_k, count, tokens, heads, eps,
    WIDTH: tl.constexpr, HEADS: tl.constexpr, TURNED: tl.constexpr,
):  # fmt: skip
    place, inside, channel, cos, sin = _places(turns, count, tokens, heads, WIDTH, HEADS, TURNED)
    _forward_one(q, weight_q, bias_q, out_q, place, inside, channel, cos, sin, eps, WIDTH, TURNED)
    _forward_one(k, weight_k, bias_k, out_k, place, inside, channel, cos, sin, eps, WIDTH, TURNED)


@triton.jit
def _backward(
    q, k, weight_q, weight_k, turns, grad_q, grad_k, out_q, out_k, count, tokens, heads, eps,
    WIDTH: tl.constexpr, HEADS: tl.constexpr, TURNED: tl.constexpr,
):  # fmt: skip
    place, inside, channel, cos, sin = _places(turns, count, tokens, heads, WIDTH, HEADS, TURNED)
    _backward_one(q, weight_q, grad_q, out_q, place, inside, channel, cos, sin, eps, WIDTH, TURNED)
    _backward_one(k, weight_k, grad_k, out_k, place, inside, channel, cos, sin, eps, WIDTH, TURNED)


def _run(
    q: Tensor, k: Tensor, weight_q: Tensor, bias_q: Tensor, weight_k: Tensor, bias_k: Tensor, turns: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    out_q, out_k = torch.empty_like(q), torch.empty_like(k)
    batch, tokens, heads, width = q.shape
    count = batch * tokens * heads
    with rows.on(q):
        _forward[(triton.cdiv(count, HEADS),)](
            q, k, weight_q, bias_q, weight_k, bias_k, turns, out_q, out_k, count, tokens, heads, eps,
            width, HEADS, turns is not None, num_warps=4,
        )  # fmt: skip
    return out_q, out_k


class _Heads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, weight_q: Tensor, bias_q: Tensor, weight_k: Tensor, bias_k: Tensor,
        turns: Tensor | None, eps: float,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        ctx.save_for_backward(q, k, weight_q, weight_k, turns)
        ctx.eps = eps
        return _run(q, k, weight_q, bias_q, weight_k, bias_k, turns, eps)

    @staticmethod
    def backward(ctx: Any, grad_q: Tensor, grad_k: Tensor) -> tuple[Tensor | None, ...]:
        q, k, weight_q, weight_k, turns = ctx.saved_tensors
        out_q, out_k = torch.empty_like(q), torch.empty_like(k)
        batch, tokens, heads, width = q.shape
        count = batch * tokens * heads
        with rows.on(q):
            _backward[(triton.cdiv(count, HEADS),)](
                q, k, weight_q, weight_k, turns, *rows.packed(grad_q, grad_k), out_q, out_k, count, tokens, heads,
                ctx.eps, width, HEADS, turns is not None, num_warps=4,
            )  # fmt: skip
        return out_q, out_k, None, None, None, None, None, None


def norm_and_turn(
    q: Tensor, k: Tensor, weight_q: Tensor, bias_q: Tensor, weight_k: Tensor, bias_k: Tensor, turns: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """q and k [B N H C], weights and biases [C], turns [N C/2 2] in float32 or None -> the same shape and type.

    C is a power of two.
    """
    turns = None if turns is None else turns.contiguous()
    return _Heads.apply(*rows.packed(q, k, weight_q, bias_q, weight_k, bias_k), turns, eps)
