"""What kernels over the rows of text and video share: which rows are a program's, and how many threads it has.

Shapes: B batch, L text tokens, N tokens with the text first, D width. Each program takes a few rows of one expert, so
that it reads what the timestep says, [B 2 3 D] as (video, text) x (shift, scale, gate), once for all of them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = tl.constexpr(4)
SHIFT, SCALE, GATE = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


def grid(x: Tensor, text_tokens: int) -> tuple[int, int]:
    """The programs for x [B N D]."""
    batch, tokens, _ = x.shape
    return triton.cdiv(text_tokens, ROWS.value) + triton.cdiv(tokens - text_tokens, ROWS.value), batch


def threads(width: int) -> tuple[int, int]:
    """The power of two that holds a row, and warps: sixteen values for each thread."""
    block = triton.next_power_of_2(width)
    return block, min(max(block // 512, 1), 16)


def packed(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors themselves, copied where they have gaps: kernels count on rows one after the other."""
    return tuple(tensor.contiguous() for tensor in tensors)


def on(x: Tensor) -> torch.cuda.device_of:
    """Launches go to the device of x."""
    return torch.cuda.device_of(x)


@triton.jit
def span(tokens, text_tokens):
    """The rows of this program, first and one past the last, and the place of their expert in the tables."""
    place, text_programs = tl.program_id(0), tl.cdiv(text_tokens, ROWS)
    video = place >= text_programs
    first = tl.where(video, text_tokens + (place - text_programs) * ROWS, place * ROWS)
    last = tl.minimum(first + ROWS, tl.where(video, tokens, text_tokens))
    return first, last, tl.where(video, 0, 1)


@triton.jit
def place(row, last, tokens, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Where the values of a row lie in [B N D], and which of them there are [BLOCK]."""
    column = tl.arange(0, BLOCK)
    return (tl.program_id(1).to(tl.int64) * tokens + row) * WIDTH + column, (column < WIDTH) & (row < last)


@triton.jit
def told(table, expert, what: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """Shift, scale or gate [BLOCK] of this program's batch and expert in float32."""
    column = tl.arange(0, BLOCK)
    row = (tl.program_id(1) * 2 + expert) * 3 + what
    return tl.load(table + row * WIDTH + column, mask=column < WIDTH, other=0.0).to(tl.float32)


@triton.jit
def normed(x, eps, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    """x [BLOCK] with mean 0 and variance 1 over its first WIDTH values, and the factor that did the latter."""
    inside = tl.arange(0, BLOCK) < WIDTH
    centred = tl.where(inside, x - tl.sum(x, 0) / WIDTH, 0.0)
    factor = tl.rsqrt(tl.sum(centred * centred, 0) / WIDTH + eps)
    return centred * factor, factor
