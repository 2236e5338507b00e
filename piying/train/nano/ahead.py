"""What a step needs of the CPU, worked out by other processes before the step begins."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from piying.models.text import Tokenizer
from piying.parallel import cores

T = TypeVar("T")
WORKERS, ROOM = 3, 12  # processes, steps that are worked on or wait


class Ahead(Generic[T]):
    """A function of the step, called for the next steps while the present one runs. Results come by pickle."""

    def __init__(self, function: Callable[[int], T], steps: int) -> None:
        self._workers = cores.workers(WORKERS, function)
        self._steps = steps
        self._waiting: dict[int, Future[T]] = {}

    def __call__(self, step: int) -> T:
        for later in range(step, min(step + ROOM, self._steps)):
            if later not in self._waiting:
                self._waiting[later] = self._workers.submit(cores.call, later)
        return self._waiting.pop(step).result()


def ahead(function: Callable[[int], T], steps: int, device: torch.device) -> Callable[[int], T]:
    """The function, called ahead where a GPU would wait for it."""
    return Ahead(function, steps) if device.type == "cuda" else function


def send(arrays: Iterable[np.ndarray], device: torch.device) -> list[Tensor]:
    """To a device. From pageable memory a copy would wait for all that a GPU has yet to do."""
    tensors = [torch.from_numpy(array) for array in arrays]
    return [t.pin_memory().to(device, non_blocking=True) for t in tensors] if device.type == "cuda" else tensors


tokenizer_of = lru_cache(Tokenizer.from_json)  # a tokenizer does not travel between processes, its JSON does
