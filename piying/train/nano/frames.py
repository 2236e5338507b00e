"""Clips of the theatre as they are seen, drawn once and used often, for the autoencoder.

The pool grows while it is used, so that training begins before all of it is drawn. What is in it at a step is decided
by the step alone; where the drawing is late, training waits.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor

from piying import device as devices
from piying.theatre.ahead import Job, draw_ahead
from piying.theatre.scene import FRAMES, Scene

TOGETHER = 4  # clips that a core draws at a time


def draw(scenes: Sequence[Scene], size: tuple[int, int], lead: int) -> Iterator[Tensor]:
    """Frames of each scene in order, uint8 [F H W 3], drawn from the call on, about `lead` ahead of their reader."""
    jobs = [Job(scenes[i : i + TOGETHER], FRAMES) for i in range(0, len(scenes), TOGETHER)]
    return chain.from_iterable(draw_ahead(jobs, size, max(lead // TOGETHER, 1)))


class Frames:
    """Clips of scenes."""

    def __init__(self, scenes: Sequence[Scene], size: tuple[int, int], device: torch.device) -> None:
        self.clips = torch.empty(len(scenes), FRAMES, *size, 3, dtype=torch.uint8, device=device)
        self._drawn = draw(scenes, size, lead=devices.memory() // 8 // self.clips[0].nbytes)
        self._ready = 0

    def first(self, count: int) -> Tensor:
        """The first `count` clips, uint8 [N F H W 3]."""
        for index in range(self._ready, count):
            self.clips[index] = next(self._drawn)
        self._ready = max(self._ready, count)
        return self.clips[:count]


def draw_all(scenes: Sequence[Scene], size: tuple[int, int], device: torch.device) -> Tensor:
    """Frames of every scene, uint8 [N F H W 3]."""
    return Frames(scenes, size, device).first(len(scenes))
