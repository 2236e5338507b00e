"""Many clips, drawn by all cores ahead of their reader."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from piying.parallel import cores
from piying.theatre.scene import Scene
from piying.theatre.stage import render

NICE = 10  # who reads the clips has work of its own


class Job(NamedTuple):
    """Scenes, the frames of the clip of each, and which of these to draw, as `render` has them."""

    scenes: Sequence[Scene]
    frames: int
    moments: Sequence[Sequence[int]] | None = None


def draw_ahead(jobs: Sequence[Job], size: tuple[int, int], room: int, *, masked: bool = False) -> Iterator[Tensor]:
    """The clips of each job in order, uint8 [N F H W 3] on a canvas of `size` (height, width).

    The drawing begins with the call and ends when the iterator is dropped; at most `room` jobs are worked on or wait
    for the reader. A few jobs are drawn here, as they are read. `masked`: a fourth channel tells which actor covers a
    pixel, as in `Drawing.masks`.
    """
    draw = partial(_draw, size=size, masked=masked)
    return map(torch.from_numpy, cores.in_order(draw, jobs, room, nice=NICE))


def _draw(job: Job, size: tuple[int, int], masked: bool) -> np.ndarray:
    """Arrays travel between processes without shared memory."""
    drawn = render(job.scenes, frames=job.frames, moments=job.moments, size=size)
    return (torch.cat([drawn.frames, drawn.masks[..., None]], dim=-1) if masked else drawn.frames).numpy()
