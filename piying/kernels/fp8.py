"""Rows as float8 (e4m3), each with a scale of its own: absmax and cast in one pass, behind GELU or not.

Reads a tensor and writes half as many bytes. On a card float8 wants compute capability 8.9.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

MOST = tl.constexpr(448.0)  # the largest e4m3


@triton.jit
def _narrow(x, values, scales, least, GELU: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row, column = tl.program_id(0), tl.arange(0, BLOCK)
    inside = column < WIDTH
    place = row.to(tl.int64) * WIDTH + column
    value = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    if GELU:  # x (1 + tanh u) / 2 = x sigmoid(2 u)
        value *= tl.sigmoid(1.5957691216057308 * (value + 0.044715 * value * value * value))
    scale = tl.maximum(tl.max(tl.abs(value), 0) / MOST, least)
    tl.store(scales + row, scale)
    tl.store(values + place, (value / scale).to(values.dtype.element_ty), mask=inside)


def narrow(x: Tensor, least: float, *, gelu: bool) -> tuple[Tensor, Tensor]:
    """x [.. D], or its GELU in the tanh form -> values in float8 [.. D], scales in float32 [.. 1], at least `least`."""
    x = x.contiguous()
    values = torch.empty_like(x, dtype=torch.float8_e4m3fn)
    scales = x.new_empty((*x.shape[:-1], 1), dtype=torch.float32)
    width = x.shape[-1]
    block = triton.next_power_of_2(width)
    with torch.cuda.device_of(x):
        _narrow[(scales.numel(),)](
            x, values, scales, least, gelu, width, block, num_warps=min(max(block // 512, 1), 16)
        )
    return values, scales
