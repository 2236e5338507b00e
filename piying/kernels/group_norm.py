"""Group norm with what stands around it, in one pass over memory each: sums while frames are stored, then the rest.

Shapes: B batch, F frames, R rows of a band, W columns, C channels, the innermost; f h w latent cells. A program works
tiles of pixels times all channels. Rows of a band lie apart from those of the next frame, so frames and rows have
strides; a pixel's neighbour is C further.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 8192  # values that a program holds at a time: 32 a thread
WARPS = 8
PROGRAMS = 2048  # that sum, at most: several for each processor of any card


@triton.jit
def _frame(frame, odd, shift):
    """The place that a frame has before doublings, which leave the first of an odd number single."""
    return ((frame - odd) >> shift) + odd


@triton.jit(do_not_specialize=["pixels", "rows", "columns", "odd", "shift"])  # one build for all sizes
def _place(
    y, bias, out, sums, pixels, rows, columns, odd, shift,
    y_batch, y_frame, y_row, out_batch, out_frame, out_row,
    ADD: tl.constexpr, TILES: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    batch = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, CHANNELS)
    held = channel < C
    added = tl.load(bias + channel, mask=held, other=0).to(tl.float32)
    total = tl.zeros([CHANNELS], tl.float32)
    square = tl.zeros([CHANNELS], tl.float32)
    for tile in range(TILES):
        pixel = (tl.program_id(0) * TILES + tile) * BLOCK + tl.arange(0, BLOCK)
        column, line = pixel % columns, pixel // columns
        row, frame = line % rows, line // rows
        read = batch * y_batch + _frame(frame, odd, shift).to(tl.int64) * y_frame + row * y_row + column * C
        write = batch * out_batch + frame.to(tl.int64) * out_frame + row * out_row + column * C
        mask = (pixel < pixels)[:, None] & held[None, :]
        target = out + write[:, None] + channel[None, :]
        value = tl.load(y + read[:, None] + channel[None, :], mask=mask, other=0).to(tl.float32) + added[None, :]
        if ADD:
            value += tl.load(target, mask=mask, other=0).to(tl.float32)
        kept = value.to(out.dtype.element_ty)
        tl.store(target, kept, mask=mask)
        seen = tl.where(mask, kept.to(tl.float32), 0)  # the statistics are those of what is stored
        total += tl.sum(seen, 0)
        square += tl.sum(seen * seen, 0)
    place = sums + ((tl.program_id(0) * tl.num_programs(1) + batch) * 2) * C + channel
    tl.store(place, total, mask=held)
    tl.store(place + C, square, mask=held)


@triton.jit(do_not_specialize=["pixels", "rows", "columns", "top", "cell", "odd", "halvings"])
def _normalize(
    x, gain, offset, scale, shift, out, pixels, rows, columns, top, cell, odd, halvings,
    x_batch, x_frame, x_row, out_batch, out_frame, out_row, cell_batch, cell_frame, cell_row,
    LATENTS: tl.constexpr, C: tl.constexpr, BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    batch = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, CHANNELS)
    held = channel < C
    pixel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    column, line = pixel % columns, pixel // columns
    row, frame = line % rows, line // rows
    mask = (pixel < pixels)[:, None] & held[None, :]
    read = batch * x_batch + frame.to(tl.int64) * x_frame + row * x_row + column * C
    value = tl.load(x + read[:, None] + channel[None, :], mask=mask, other=0).to(tl.float32)
    value = value * tl.load(gain + batch * C + channel, mask=held, other=0)[None, :]
    value += tl.load(offset + batch * C + channel, mask=held, other=0)[None, :]
    if LATENTS:
        source = batch * cell_batch + _frame(frame, odd, halvings) * cell_frame
        source += ((row + top) // cell) * cell_row + (column // cell) * C
        source = source[:, None] + channel[None, :]
        value = value * tl.load(scale + source, mask=mask, other=0).to(tl.float32)
        value += tl.load(shift + source, mask=mask, other=0).to(tl.float32)
    value = value * tl.sigmoid(value)
    write = batch * out_batch + frame.to(tl.int64) * out_frame + row * out_row + column * C
    tl.store(out + write[:, None] + channel[None, :], value.to(out.dtype.element_ty), mask=mask)


def place(y: Tensor, bias: Tensor, out: Tensor, *, add: bool) -> Tensor:
    """As `ops.place`, for y and out whose channels and columns lie dense."""
    batch, frames, rows, columns, channels = out.shape
    pixels, width = frames * rows * columns, triton.next_power_of_2(channels)
    block = max(TILE // width, 1)
    tiles = triton.next_power_of_2(triton.cdiv(triton.cdiv(pixels, block), PROGRAMS))  # a power: one build for many
    programs = triton.cdiv(pixels, block * tiles)
    sums = torch.empty(programs, batch, 2, channels, device=out.device, dtype=torch.float32)
    with torch.cuda.device_of(out):
        _place[(programs, batch)](
            y, bias, out, sums, pixels, rows, columns, *_doublings(y.shape[1], frames),
            *y.stride()[:3], *out.stride()[:3],
            ADD=add, TILES=tiles, C=channels, BLOCK=block, CHANNELS=width, num_warps=WARPS,
        )  # fmt: skip
    return sums


def normalize(
    x: Tensor, gain: Tensor, offset: Tensor, out: Tensor, latents: tuple[Tensor, Tensor] | None, top: int
) -> None:
    """As `ops.normalize`, for x and out whose channels and columns lie dense, and latents that lie dense altogether."""
    batch, frames, rows, columns, channels = x.shape
    pixels, width = frames * rows * columns, triton.next_power_of_2(channels)
    block = max(TILE // width, 1)
    scale, shift = latents or (gain, offset)
    cell, doublings, strides = 1, (0, 0), [0, 0, 0]
    if latents:
        cell, doublings = columns // scale.shape[3], _doublings(scale.shape[1], frames)
        strides = [*scale.stride()[:3]]
    with torch.cuda.device_of(out):
        _normalize[(triton.cdiv(pixels, block), batch)](
            x, gain, offset, scale, shift, out, pixels, rows, columns, top, cell, *doublings,
            *x.stride()[:3], *out.stride()[:3], *strides,
            LATENTS=latents is not None, C=channels, BLOCK=block, CHANNELS=width, num_warps=WARPS,
        )  # fmt: skip


def _doublings(before: int, after: int) -> tuple[int, int]:
    """Whether the number of frames is odd, and how often it was doubled to get from one to the other."""
    odd = before % 2
    return odd, ((after - odd) // max(before - odd, 1)).bit_length() - 1 if before > odd else 0
