"""Many clips, drawn by all cores ahead of their reader."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from piying.theatre.scene import Scene
from piying.theatre.stage import render


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
    cores = max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))  # of each rank of torchrun
    if len(jobs) < 2 * cores:
        return (torch.from_numpy(_draw(job, size, masked)) for job in jobs)
    clips = _work(deque(jobs), size, masked, cores, max(room, 2 * cores))
    next(clips)  # up to the first yield, where the workers have begun
    return map(torch.from_numpy, clips)


def _work(jobs: deque[Job], size: tuple[int, int], masked: bool, cores: int, room: int) -> Iterator[np.ndarray]:
    """Nothing, as a sign that the workers have begun, then the clips of each job."""
    workers = ProcessPoolExecutor(cores, get_context("spawn"), _begin)
    waiting: deque[Future[np.ndarray]] = deque()

    def submit() -> None:
        while jobs and len(waiting) < room:
            waiting.append(workers.submit(_draw, jobs.popleft(), size, masked))

    try:
        submit()
        yield np.empty(0)
        while waiting:
            yield waiting.popleft().result()
            submit()
    finally:
        workers.shutdown(cancel_futures=True)  # else a process that ends now may wait for them for ever


def end_with_parent() -> None:
    """From now on this process, which multiprocessing started, ends when the one that started it is gone."""

    def watch() -> None:
        parent = parent_process()
        assert parent
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


def _begin() -> None:
    end_with_parent()
    torch.set_num_threads(1)  # the same bytes wherever a scene is drawn
    if hasattr(os, "nice"):
        os.nice(10)  # who reads the clips has work of its own


def _draw(job: Job, size: tuple[int, int], masked: bool) -> np.ndarray:
    """Arrays travel between processes without shared memory."""
    drawn = render(job.scenes, frames=job.frames, moments=job.moments, size=size)
    return (torch.cat([drawn.frames, drawn.masks[..., None]], dim=-1) if masked else drawn.frames).numpy()
