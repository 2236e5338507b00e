"""Tensors that wait in main memory between the way there and the way back, their copies hidden behind the computation.

On a card both copies run on a stream of their own: the one there begins when what it copies is computed, the one back
while the block after it, which comes first on the way back, is still worked on.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class Parking:
    """Lists of tensors by block, fetched in falling order. On a CPU they stay where they are."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._away: dict[int, list[Tensor]] = {}
        self._coming: dict[int, tuple[list[Tensor], torch.cuda.Event]] = {}

    def leave(self, index: int, tensors: Sequence[Tensor]) -> None:
        if self._stream is None:
            self._away[index] = list(tensors)
            return
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            places = [torch.empty_like(tensor, device="cpu", pin_memory=True) for tensor in tensors]
            for place, tensor in zip(places, tensors, strict=True):
                place.copy_(tensor, non_blocking=True)
                tensor.record_stream(self._stream)  # so that its memory is not used anew before
        self._away[index] = places

    def fetch(self, index: int) -> list[Tensor]:
        """Back on the device; those of the block before are sent for."""
        if self._stream is None:
            return self._away.pop(index)
        self._send_for(index)
        tensors, arrived = self._coming.pop(index)
        current = torch.cuda.current_stream(self._device)
        current.wait_event(arrived)
        for tensor in tensors:
            tensor.record_stream(current)
        self._send_for(index - 1)
        return tensors

    def _send_for(self, index: int) -> None:
        places = self._away.pop(index, None)
        if places is None or self._stream is None:
            return
        with torch.cuda.stream(self._stream):
            tensors = [place.to(self._device, non_blocking=True) for place in places]
            arrived = torch.cuda.Event()
            arrived.record(self._stream)
        self._coming[index] = tensors, arrived
