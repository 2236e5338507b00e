"""What a step needs of the CPU, worked out by other processes before the step begins."""

from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")
WORKERS, ROOM = 3, 12  # processes, steps that are worked on or wait


class Ahead(Generic[T]):
    """A function of the step, called for the next steps while the present one runs. Results come by pickle."""

    def __init__(self, function: Callable[[int], T], steps: int) -> None:
        self._workers = ProcessPoolExecutor(WORKERS, get_context("spawn"), _begin, (function,))
        self._steps = steps
        self._waiting: dict[int, Future[T]] = {}

    def __call__(self, step: int) -> T:
        for later in range(step, min(step + ROOM, self._steps)):
            if later not in self._waiting:
                self._waiting[later] = self._workers.submit(_call, later)
        return self._waiting.pop(step).result()


_function: Callable[[int], Any]  # of this worker


def _begin(function: Callable[[int], Any]) -> None:
    global _function
    _function = function
    torch.set_num_threads(1)


def _call(step: int) -> Any:
    return _function(step)
