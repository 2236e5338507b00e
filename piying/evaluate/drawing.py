"""Many rendered clips, drawn by all cores ahead of their reader."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch
from torch import Tensor

from piying.theatre.scene import Scene
from piying.theatre.stage import render

CANVAS = (96, 144)  # nano's, on which judges see everything
AHEAD = 4  # jobs a core that may wait for the reader

Job = tuple[Sequence[Scene], int]  # scenes, frames of each


def draw(jobs: Sequence[Job]) -> Iterator[Tensor]:
    """The clips of each job in order, uint8 [N F H W 3]. The workers end when the iterator is dropped."""
    cores = os.cpu_count() or 1
    if len(jobs) < 2 * cores:
        return (torch.from_numpy(_draw(*job)) for job in jobs)
    return map(torch.from_numpy, _draw_ahead(deque(jobs), cores))


def _draw_ahead(jobs: deque[Job], cores: int) -> Iterator[np.ndarray]:
    workers = ProcessPoolExecutor(cores, get_context("spawn"), torch.set_num_threads, (1,))
    waiting: deque[Future[np.ndarray]] = deque()
    try:
        while jobs or waiting:
            while jobs and len(waiting) < AHEAD * cores:
                waiting.append(workers.submit(_draw, *jobs.popleft()))
            yield waiting.popleft().result()
    finally:
        workers.shutdown(wait=False, cancel_futures=True)


def _draw(scenes: Sequence[Scene], frames: int) -> np.ndarray:
    """Arrays travel between processes without shared memory."""
    return render(scenes, frames=frames, size=CANVAS).frames.numpy()
