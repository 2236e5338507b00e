"""Work for other processes on this machine's cores. A function goes to each of them once; it, its arguments and its
results travel by pickle."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any, TypeVar

import torch

from piying import device

A = TypeVar("A")
R = TypeVar("R")


def count() -> int:
    """The cores of this process: its part of all where torchrun started several."""
    return max(1, device.cores() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def workers(processes: int, function: Callable[[Any], Any], *, nice: int = 0) -> ProcessPoolExecutor:
    """Processes of one thread each that `call` the function; they end with this one."""
    return ProcessPoolExecutor(processes, get_context("spawn"), _begin, (function, nice))


def call(argument: Any) -> Any:
    """What the function of this worker makes of it."""
    return _function(argument)


def in_order(function: Callable[[A], R], jobs: Sequence[A], room: int = 0, *, nice: int = 0) -> Iterator[R]:
    """The function of each job, by all cores, in the order of the jobs.

    The work begins with the call and ends when the iterator is dropped; `room` jobs are worked on or wait for their
    reader, and at least two for each worker. There are as many workers as cores, but none for a single job: beginning
    one takes seconds. Where that leaves only one, the jobs are done here, as they are read.
    """
    processes = min(count(), len(jobs) // 2)
    if processes < 2:
        return map(function, jobs)
    results = _results(processes, function, deque(jobs), max(room, 2 * processes), nice)
    next(results)  # up to the first yield, where the workers have begun
    return results


def _results(processes: int, function: Callable[[Any], Any], jobs: deque[Any], room: int, nice: int) -> Iterator[Any]:
    """Nothing, as a sign that the workers have begun, then the results."""
    pool = workers(processes, function, nice=nice)
    waiting: deque[Future[Any]] = deque()

    def submit() -> None:
        while jobs and len(waiting) < room:
            waiting.append(pool.submit(call, jobs.popleft()))

    try:
        submit()
        yield None
        while waiting:
            yield waiting.popleft().result()
            submit()
    finally:
        pool.shutdown(cancel_futures=True)  # else a process that ends now may wait for them for ever


def end_with_parent() -> None:
    """From now on this process, which multiprocessing started, ends when the one that started it is gone."""

    def watch() -> None:
        parent = parent_process()
        assert parent
        parent.join()
        os._exit(1)

    Thread(target=watch, daemon=True).start()


_function: Callable[[Any], Any]  # of this worker


def _begin(function: Callable[[Any], Any], nice: int) -> None:
    global _function
    _function = function
    end_with_parent()
    device.keep_freed()
    torch.set_num_threads(1)  # the same bytes whoever works, and no two threads on one core
    if hasattr(os, "nice"):
        os.nice(nice)
