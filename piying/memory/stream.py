"""Blocks that flow from host memory through two slots on a card, their copies hidden behind the computation.

A slot is one flat buffer, and a block's parameters and buffers, of any type, are views into it while it is the block's
turn; at all other times they are what they were, in host memory. Block i takes slot i mod 2.

Why each kernel reads what it should, with no synchronisation of the host but at the end. There are two streams on the
card, C that computes (the current one) and D that copies, and for each slot the events `copied`, recorded on D after a
copy into it, and `computed`, recorded on C after the work of the block that was in it.
1. C waits for `copied` before the work of a block: a block never starts on half a copy.
2. D waits for `computed` before it copies the next block into a slot: no copy overwrites weights that are still read.
   At the start of a flow both events `computed` are recorded afresh, so D waits as well for whatever C did before,
   which may have used the same memory for other things.
3. Slots are allocated and freed on C. Every copy into them precedes, by 1, the work of its block on C, so when C reuses
   the memory after that work, no copy is under way, and the allocator need not know of D (no `record_stream`).
4. The host side of a copy must not change while it is read. Page-locked copies of whole blocks change only when an
   adapter is merged, between flows, and a flow ends (or breaks off) by waiting on the host until D is idle. The ring of
   two page-locked buffers is filled anew only after the host has waited for `copied` of the same slot.
5. Copies are asynchronous since their source is page-locked; were it not, they would be slower and right all the same.

On a device without streams the same slots are filled by plain copies, in the same order.
"""

import copy
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from piying.host import page_locked
from piying.memory.lend import cast, lent, like, shelf, tensors_of

Block = TypeVar("Block", bound=nn.Module)
ALIGNMENT = (
    256  # bytes; what the allocator of CUDA gives, so that kernels choose the same paths as for resident tensors
)


class Layout(NamedTuple):
    """How the tensors of a block lie side by side."""

    places: dict[str, tuple[int, torch.Size, torch.dtype]]  # where each begins, its shape and type
    size: int  # bytes of all


class Stream(Generic[Block]):
    """Calling it gives, inside a `with`, the blocks in order, each ready on the device until the next is asked for.

    With `copies` each block is packed into a page-locked copy once, which then is its home in host memory: the
    original is let go, and the copy is one transfer at full speed. Without, blocks stay where they lie (in a mapped
    file, say) and pass through a ring of two page-locked buffers, whose filling costs host time at each pass.
    Tensors whose names begin with one of `left_out` are not moved. float16 tensors whose name ends in `float32` become
    that type on the way.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        device: torch.device,
        *,
        copies: bool,
        left_out: tuple[str, ...] = (),
        float32: str | None = None,
    ) -> None:
        self.blocks, self.device, self.copies = blocks, device, copies
        self._layouts = [layout(block, left_out, float32) for block in blocks]
        self._sources = [self._pack(index) for index in range(len(blocks))] if copies else []
        self._slots: list[Tensor] = []
        self._ring: list[Tensor] = []
        self._views: list[dict[str, Tensor]] = []  # of each block in its slot
        self._queue = _Queue(device) if device.type == "cuda" else None

    @property
    def slot_bytes(self) -> int:
        return max(layout.size for layout in self._layouts)

    def release(self) -> None:
        """Gives the slots back to the allocator; the next call takes new ones."""
        self._slots, self._views, self._ring = [], [], []

    def backwards(self) -> "Stream[Block]":
        """The same copies from the last block to the first, as a backward pass asks for them, in slots of its own."""
        back = copy.copy(self)
        back.blocks, back._layouts, back._sources = self.blocks[::-1], self._layouts[::-1], self._sources[::-1]
        back.release()
        back._queue = _Queue(self.device) if self.device.type == "cuda" else None
        return back

    def __call__(self) -> AbstractContextManager[Iterator[Block]]:
        return closing(self._flow())

    def _flow(self) -> Generator[Block]:
        if not self._slots:
            self._allocate()
        queue = self._queue
        try:
            if queue:
                queue.begin()
            for index in range(min(2, len(self.blocks))):
                self._send(index)
            for index, block in enumerate(self.blocks):
                if queue:
                    queue.await_copy(index % 2)
                with lent(block, self._views[index]):
                    yield block
                if queue:
                    queue.mark_computed(index % 2)
                if index + 2 < len(self.blocks):
                    self._send(index + 2)
        finally:
            if queue:
                queue.settle()

    def _send(self, index: int) -> None:
        """Starts the copy of a block into its slot."""
        slot, size = self._slots[index % 2], self._layouts[index].size
        if self._queue is None:
            if self.copies:
                slot[:size].copy_(self._sources[index])
            else:
                self._gather(index, slot)
            return
        if self.copies:
            source = self._sources[index]
        else:
            self._queue.await_copy_on_host(index % 2)
            source = self._gather(index, self._ring[index % 2])
        self._queue.copy(index % 2, slot[:size], source)

    def _gather(self, index: int, buffer: Tensor) -> Tensor:
        """The tensors of a block side by side in a buffer; what of it they fill."""
        tensors = tensors_of(self.blocks[index])
        for name, view in _views(buffer, self._layouts[index]).items():
            view.copy_(tensors[name])
        return buffer[: self._layouts[index].size]

    def _pack(self, index: int) -> Tensor:
        """The home of a block in one page-locked buffer; its tensors become views of that."""
        with torch.inference_mode(False), torch.no_grad():
            home = self._gather(index, page_locked(self._layouts[index].size, self.device))
            for name, view in _views(home, self._layouts[index]).items():
                place, key = shelf(self.blocks[index], name)
                place[key] = like(place[key], view)
        return home

    def _allocate(self) -> None:
        with torch.inference_mode(False):  # a tensor made in that mode could be used in it alone
            self._slots = [torch.empty(self.slot_bytes, dtype=torch.uint8, device=self.device) for _ in range(2)]
            if self._queue and not self.copies:
                self._ring = [page_locked(self.slot_bytes, self.device) for _ in range(2)]
            self._views = [_views(self._slots[i % 2], layout) for i, layout in enumerate(self._layouts)]


class _Queue:
    """The copying stream, and the two events of each slot. The numbered rules are those of the module."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copying = torch.cuda.Stream(device)
        self._copied = [torch.cuda.Event() for _ in range(2)]
        self._computed = [torch.cuda.Event() for _ in range(2)]

    def begin(self) -> None:
        for slot in range(2):
            self.mark_computed(slot)

    def copy(self, slot: int, target: Tensor, source: Tensor) -> None:
        self._copying.wait_event(self._computed[slot])  # rule 2
        with torch.cuda.stream(self._copying):
            target.copy_(source, non_blocking=True)
            self._copied[slot].record(self._copying)

    def await_copy(self, slot: int) -> None:
        torch.cuda.current_stream(self._device).wait_event(self._copied[slot])  # rule 1

    def await_copy_on_host(self, slot: int) -> None:
        self._copied[slot].synchronize()  # rule 4; returns at once for an event that was never recorded

    def mark_computed(self, slot: int) -> None:
        self._computed[slot].record(torch.cuda.current_stream(self._device))

    def settle(self) -> None:
        self._copying.synchronize()  # rule 4


def layout(block: nn.Module, left_out: tuple[str, ...] = (), float32: str | None = None) -> Layout:
    """The layout of a block's parameters and buffers; a module on the meta device will do. See `Stream`."""
    places, size = {}, 0
    for name, tensor in tensors_of(block).items():
        if not name.startswith(left_out):
            dtype = cast(name, tensor, float32)
            places[name] = size, tensor.shape, dtype
            size += -(-tensor.numel() * dtype.itemsize // ALIGNMENT) * ALIGNMENT
    return Layout(places, size)


def _views(buffer: Tensor, layout: Layout) -> dict[str, Tensor]:
    """Each tensor of a layout as a view of a flat buffer of bytes."""
    return {
        name: buffer[start : start + shape.numel() * dtype.itemsize].view(dtype).view(shape)
        for name, (start, shape, dtype) in layout.places.items()
    }
