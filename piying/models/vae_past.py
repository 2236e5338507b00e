"""What convolutions remember from one chunk to the next: on the card, or beside it in ordinary memory.

At 480x720 that is 2.8 GB while decoding, more than the values that are being worked on. What lies beside the card comes
and goes on lanes of its own: the next band's rows come while this band is computed.

Shapes: B batch, C channels, R rows of a band, H W pixels.
"""

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from piying.host import page_locked
from piying.models.vae_parts import Past


class Band(NamedTuple):
    """Rows of what a convolution remembers, from the first to before the last."""

    layer: nn.Module
    top: int
    bottom: int


class Before(NamedTuple):
    """What a convolution saw last, as it stands when a chunk comes to it."""

    frames: Tensor  # [B 2 H W C]
    beside: bool  # whether this call has put it beside the card


class Coming(NamedTuple):
    """Rows on their way to the card, and when they will have come."""

    rows: Tensor  # [B 2 R W C]
    there: torch.cuda.Event


class Lanes:
    """Copies from pinned memory to a card and back, both at once and beside the card's other work."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._in, self._out = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def load(self, rows: Tensor) -> Coming:
        self._in.wait_stream(self._out)  # these rows may have left just now
        with torch.cuda.stream(self._in):
            here = torch.empty(rows.shape, device=self._device, dtype=rows.dtype)
            _copy_frames(rows, here)
            return Coming(here, self._in.record_event())

    def receive(self, coming: Coming) -> Tensor:
        current = torch.cuda.current_stream(self._device)
        current.wait_event(coming.there)
        coming.rows.record_stream(current)
        return coming.rows

    def store(self, frames: Tensor, beside: Tensor) -> None:
        self._out.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._out):
            _copy_frames(frames, beside)

    def memory(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return page_locked(prod(shape) * dtype.itemsize, self._device).view(dtype).view(shape)

    def settle(self) -> None:
        """Lets the card's work wait until all that was to leave has left, so that its memory can be used again."""
        torch.cuda.current_stream(self._device).wait_stream(self._out)

    def finish(self) -> None:
        self._in.synchronize()
        self._out.synchronize()


class Shelf:
    """The past of one call. The tensors that `past` holds at first are read and replaced, never written to."""

    def __init__(self, past: Past, room: int | None, lanes: Lanes | None) -> None:
        """`room`: bytes that may stay on the card; what is more goes over the lanes, if there are any."""
        self.remember = True  # whether a chunk leaves a past
        self._past, self._room, self._lanes = past, room, lanes
        self._own: dict[nn.Module, Tensor] = {}  # [B 2 H W C]
        self._beside: set[nn.Module] = set()  # those that are not on the card
        self._coming: dict[Band, Coming] = {}
        self._next: dict[Band, Band] = {}  # the order in which rows are asked for, chunk after chunk
        self._last: Band | None = None

    def before(self, layer: nn.Module) -> Before | None:
        """To be asked once a chunk, and given to each `exchange`; None at the beginning of a video."""
        if layer not in self._past:
            return None
        return Before(self._past[layer].permute(0, 2, 3, 4, 1), layer in self._beside)

    def exchange(
        self, layer: nn.Module, before: Before | None, seen: Tensor, top: int, height: int, edge: Tensor | None
    ) -> Tensor | None:
        """Puts the past in front of a band, and keeps the band's last two frames.

        seen [B 2+F R+2 W C]: the band with one row more on each side, its frames filled. Returns the row `edge` that
        the next band of this chunk has above it, in the past.
        """
        bottom = top + seen.shape[2] - 2
        lines = slice(int(top == 0), seen.shape[2] - int(bottom == height))  # those inside of the frame
        following = None
        if before is None:  # the first frame stands in
            seen[:, :2, lines] = seen[:, 2:3, lines]
        else:
            last = min(bottom + 1, height)
            self._fetch(Band(layer, top, last), before, seen[:, :2, 1 : last - top + 1])
            if edge is not None:
                seen[:, :2, :1] = edge
            following = seen[:, :2, -2:-1].clone()  # before what is kept takes its place
        if self.remember:
            self._keep(layer, seen[:, -2:, 1:-1], top, height)
        return following

    def settle(self) -> None:
        """To be called before the memory of a band is given back."""
        if self._lanes:
            self._lanes.settle()

    def close(self) -> None:
        """Waits until all of it has come to rest."""
        self._coming.clear()
        if self._lanes:
            self._lanes.finish()

    def _fetch(self, band: Band, before: Before, out: Tensor) -> None:
        if self._lanes is None or not before.beside:
            out.copy_(before.frames[:, :, band.top : band.bottom])
            return
        coming = self._coming.pop(band) if band in self._coming else self._load(band, self._lanes)
        out.copy_(self._lanes.receive(coming))
        following = self._next[band]
        if following.layer is not band.layer or following.top > band.top:  # else this chunk has not written it yet
            self._coming[following] = self._load(following, self._lanes)

    def _load(self, band: Band, lanes: Lanes) -> Coming:
        return lanes.load(self._own[band.layer][:, :, band.top : band.bottom])

    def _keep(self, layer: nn.Module, frames: Tensor, top: int, height: int) -> None:
        if layer not in self._own:
            self._own[layer] = self._room_for(layer, frames, height)
            self._past[layer] = self._own[layer].permute(0, 4, 1, 2, 3)
        bottom = top + frames.shape[2]
        target = self._own[layer][:, :, top:bottom]
        if self._lanes is None or layer not in self._beside:
            target.copy_(frames)
            return
        band = Band(layer, top, min(bottom + 1, height))
        self._next[self._last or band] = band
        self._next.setdefault(band, band)
        self._last = band
        self._lanes.store(frames, target)

    def _room_for(self, layer: nn.Module, frames: Tensor, height: int) -> Tensor:
        """Memory for a convolution's past: on the card while there is room."""
        shape = (*frames.shape[:2], height, *frames.shape[3:])
        size = frames[:, :, :1].numel() * height * frames.element_size()
        if self._lanes is None or self._room is None or size <= self._room:
            self._room = None if self._room is None else self._room - size
            return frames.new_empty(shape)
        self._beside.add(layer)
        return self._lanes.memory(shape, frames.dtype)


def _copy_frames(source: Tensor, target: Tensor) -> None:
    """One frame at a time: its rows lie together on both sides, so the copy engine takes them as they are."""
    for video, kept in zip(source, target, strict=True):
        for there, here in zip(video, kept, strict=True):
            here.copy_(there, non_blocking=True)
