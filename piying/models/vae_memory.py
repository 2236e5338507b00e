"""What the autoencoder needs in memory, said before it runs, and how it keeps within a limit.

Bytes are those that a call takes beside the weights and what it is given: every allocation is counted as `vae_bands`
makes it, chunk by chunk, level by level. Shapes: B batch, F frames, H W rows and columns, C channels.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

import torch

from piying.config import VAEConfig
from piying.errors import OutOfMemory
from piying.models.vae_parts import FRAME_CHUNK, LATENT_CHUNK, schedule

Task = Literal["encode", "decode"]
Step = Literal["causal", "double", "halve", "shortcut"]
Shape = tuple[int, ...]  # [B F H W C]

BAND = 256 << 20  # bytes of the input of a band; a larger one is no faster
SMALLEST_BAND = 4 << 20  # below this the halo costs more than half of the work at real sizes


@dataclass(frozen=True)
class Plan:
    """How a call spends memory."""

    band: int  # bytes of the frames that one convolution reads at a time
    past: int | None = None  # bytes of past that stay on the card, what is more lies beside it; None for all
    twice: bool = False  # whether frames that only one block needs are made twice, not kept


@dataclass(frozen=True, kw_only=True)
class Call:
    """What is to be done; frames and size are those of pixels."""

    task: Task
    config: VAEConfig
    frames: int
    size: tuple[int, int]
    dtype: torch.dtype
    batch: int = 1
    device: str = "cuda"  # the type; a GPU's past may lie beside it
    kernels: bool = True  # whether `ops` has kernels there
    remember: bool = False  # whether another call goes on from this one


def plan(call: Call, limit: int | None) -> Plan:
    """The fastest plan within a limit of bytes. Raises OutOfMemory where the leanest needs more."""
    if limit is None:
        return Plan(BAND)
    for tried in _plans(call.device):
        least = _peak(call, tried)
        if least <= limit:
            return tried if tried.past is None else replace(tried, past=limit - least)
    height, width = call.size
    raise OutOfMemory(
        f"limit={limit / 2**30:.2f} GiB: to {call.task} {call.frames} frames of {height}x{width} takes"
        f" {least / 2**30:.2f} GiB at least; give it more, or use fewer frames or a smaller size"
    )


def peak(call: Call, limit: int | None = None) -> int:
    """The most bytes that a call within this limit holds at a time. Raises OutOfMemory as `plan`."""
    return _peak(call, plan(call, limit))


def rows_of(step: Step, shape: Shape, itemsize: int, plan: Plan) -> int:
    """How many rows of frames of this shape make a band: as many as the plan allows, all bands about alike."""
    batch, frames, height, width, channels = shape
    row = batch * width * channels * itemsize * {"causal": frames + 2, "halve": 4 * frames}.get(step, frames)
    halo = 2 if step == "causal" else 0
    bands = -(-height // max(plan.band // row - halo, 1))
    return -(-height // bands)


def _plans(device: str) -> Iterator[Plan]:
    """From the fastest to the leanest: making frames twice costs less than sending the past out and back."""
    bands = [BAND]
    while bands[-1] > SMALLEST_BAND:
        bands.append(bands[-1] // 2)
    large = bands[:4]
    for twice in (False, True):
        yield from (Plan(band, None, twice) for band in large)
    if device == "cuda":
        yield from (Plan(band, 0, True) for band in bands)
    else:
        yield from (Plan(band, None, True) for band in bands[len(large) :])


def _peak(call: Call, plan: Plan) -> int:
    encodes, (height, width) = call.task == "encode", call.size
    chunks = schedule(call.frames, FRAME_CHUNK) if encodes else schedule((call.frames - 1) // 4 + 1, LATENT_CHUNK)
    copies = call.device == "cuda" and call.dtype == torch.float32  # cuDNN's have no other layout there
    meter = _Meter(plan, call.dtype.itemsize, call.kernels, copies, call.remember or len(chunks) > 1)
    if not encodes:
        meter.base = meter.bytes((call.batch, call.frames, height, width, 3))  # the result
    for chunk in chunks[:2]:  # later ones are like the second
        if encodes:
            _encode(meter, call.config, (call.batch, chunk, height, width, 3))
        else:
            _decode(meter, call.config, (call.batch, chunk, height // 8, width // 8, call.config.latent_channels))
        meter.next_chunk()
    return meter.most


@dataclass
class _Meter:
    """Counts bytes where `vae_bands.Work` allocates."""

    plan: Plan
    itemsize: int
    kernels: bool  # whether `ops` has them
    copies: bool  # whether convolutions copy what they read and what they make: to channels first and back
    remembers: bool  # whether convolutions keep a past
    base: int = 0  # held all the time
    past: int = 0  # on the device
    later: bool = False  # the first chunk is over
    most: int = 0
    _rows: dict[tuple[Step, Shape], int] = field(default_factory=dict)
    _stays: list[bool] = field(default_factory=list)  # the past of each convolution in turn
    _turn: int = 0

    def next_chunk(self) -> None:
        self.later, self._turn = True, 0

    def bytes(self, shape: Shape, channels: int | None = None, rows: int | None = None, frames: int = 0) -> int:
        """Of frames of a shape, or of so many channels, of a band of rows, and with more frames."""
        batch, count, height, width, own = shape
        return self.itemsize * batch * (count + frames) * (rows or height) * width * (channels or own)

    def rows(self, step: Step, shape: Shape) -> int:
        key = (step, shape[2:])
        if key not in self._rows:
            self._rows[key] = rows_of(step, shape, self.itemsize, self.plan)
        return self._rows[key]

    def note(self, held: int) -> None:
        self.most = max(self.most, self.base + self.past + held)

    def causal(self, shape: Shape, channels: int, held: int, source: "_Source | None" = None) -> None:
        """A causal convolution, its result among what is held."""
        rows, staged = self.rows("causal", shape), 0
        past = (shape[0], 2, *shape[2:])
        if not self.later:
            room = self.plan.past is None or self.past + self.bytes(past) <= self.plan.past
            self._stays.append(room)
            self.past += self.bytes(past) * (room and self.remembers)
        elif not self._stays[self._turn]:  # the rows of this band and of the next
            staged = 2 * self.bytes(past, rows=rows + 1)
        self._turn += 1
        seen, inside = self.bytes(shape, rows=rows + 2, frames=2), min(rows + 2, shape[2])
        y = self.bytes(shape, channels, rows)
        needs = [self.conv(seen, y, 27 * shape[4] * channels), seen + self.plain(shape, inside)]
        if not self.kernels:  # some convolutions give another layout there, which is copied
            needs.append(seen + 2 * y)
        if source and source.anew:
            needs += [self.doubled(shape, inside, source.frames), needs[1] + self.bytes(shape, rows=inside)]
        self.note(held + staged + max(needs))

    def doubled(self, shape: Shape, rows: int, frames: int) -> int:
        """A band of twice the height and width, from so many frames."""
        fewer = (shape[0], frames, *shape[2:])
        y = self.bytes(fewer, rows=rows)
        made = self.conv(self.bytes(fewer, rows=rows + 2), y, 9 * shape[4] ** 2)
        return max(made, y + max(self.bytes(shape, rows=rows) if frames < shape[1] else 0, self.plain(shape, rows)))

    def conv(self, seen: int, y: int, weights: int) -> int:
        """A convolution of so many weights, from bytes to bytes."""
        return (seen + y) * (2 if self.copies else 1) + weights * self.itemsize

    def plain(self, shape: Shape, rows: int) -> int:
        """What plain math takes where there are no kernels: a frame of a band in float32, a few times."""
        batch, _, _, width, channels = shape
        return 0 if self.kernels else 6 * 4 * batch * rows * width * channels

    def block(self, source: "_Source", channels: int, cell: Shape | None) -> "_Source":
        """A residual block; `cell` is the shape of the latents where norms take them."""
        shape = source.shape
        result, y = _Source((*shape[:4], channels), shape[1]), self.bytes(shape, channels)
        cells = [2 * self.bytes(cell, count) if cell else 0 for count in (shape[4], channels)]
        held = y
        if shape[4] != channels:
            rows = self.rows("shortcut", shape)
            made = self.doubled(shape, rows, source.frames) if source.anew else 0
            needs = self.bytes(shape, rows=rows) + self.bytes(shape, channels, rows)
            self.note(self.size(source) + y + max(made, needs))
            held += y
        self.causal(shape, channels, self.size(source) + held + cells[0], source)
        self.causal(result.shape, channels, 2 * y + cells[1])
        return result

    def size(self, source: "_Source") -> int:
        """Of the values that are kept."""
        batch, _, height, width, channels = source.shape
        return self.bytes((batch, source.frames, height // 2, width // 2, channels) if source.anew else source.shape)

    def double(self, source: "_Source", *, time: bool, anew: bool) -> "_Source":
        batch, count, height, width, channels = source.shape
        frames = 2 * count - count % 2 if time else count
        result = _Source((batch, frames, 2 * height, 2 * width, channels), count, anew)
        if not anew:
            made = self.doubled(result.shape, self.rows("double", result.shape), count)
            self.note(self.size(source) + self.size(result) + made)
        return result

    def halve(self, source: "_Source", *, time: bool) -> "_Source":
        batch, count, height, width, channels = source.shape
        frames = count - count // 2 if time else count
        result = _Source((batch, frames, height // 2, width // 2, channels), frames)
        rows = self.rows("halve", result.shape)
        seen = self.itemsize * batch * frames * (2 * rows + 1) * (width + 1) * channels
        made = self.conv(seen, self.bytes(result.shape, rows=rows), 9 * channels**2)
        needs = made, seen + self.plain(result.shape, rows)
        self.note(self.size(source) + self.size(result) + max(needs))
        return result


@dataclass(frozen=True)
class _Source:
    """What comes into a step: frames of a shape, or `frames` of half its height and width, enlarged when wanted."""

    shape: Shape
    frames: int
    anew: bool = False


def _encode(meter: _Meter, config: VAEConfig, shape: Shape) -> None:
    first, last = config.channels[0], config.channels[-1]
    x = _Source((*shape[:4], first), shape[1])
    meter.causal(shape, first, meter.size(x))
    for level, channels in enumerate(config.channels):
        for _ in range(config.blocks):
            x = meter.block(x, channels, None)
        if level < 3:
            x = meter.halve(x, time=level < 2)
    for _ in range(2):
        x = meter.block(x, last, None)
    meter.causal(x.shape, 2 * config.latent_channels, meter.size(x) + meter.bytes(x.shape, 2 * config.latent_channels))


def _decode(meter: _Meter, config: VAEConfig, shape: Shape) -> None:
    levels = config.channels[::-1]
    x = _Source((*shape[:4], levels[0]), shape[1])
    meter.causal(shape, levels[0], meter.size(x))
    for _ in range(2):
        x = meter.block(x, levels[0], shape)
    for level, (channels, following) in enumerate(pairwise((*levels, levels[-1]))):
        for _ in range(config.blocks + 1):
            x = meter.block(x, channels, shape)
        if level < 3:
            x = meter.double(x, time=level < 2, anew=meter.plan.twice and following != channels)
    meter.causal(x.shape, 3, meter.size(x) + 2 * meter.bytes(shape, x.shape[4]))
