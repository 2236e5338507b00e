"""The other ranks of a video as rank 0 sees them: processes that follow its orders, and a watch over them.

Rank 0 is the caller's own process. It alone runs the sampler, reads and writes; the others do their part of each heavy
call and wait for the next. A rank that dies or fails ends the call within seconds; ranks whose rank 0 is gone end at
once.
"""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from piying import errors
from piying.errors import OutOfMemory, PiyingError, UsageError
from piying.parallel import ranks
from piying.parallel.member import Member
from piying.parallel.orders import Failed, Load, Order, Start

_SETTLE = 1.0  # seconds in which all news of one accident arrive: a dead rank fails its neighbours too
_BLOCKED = 15.0  # seconds until a call that cannot be woken is ended with its process
_LEAVING = 10.0  # seconds for a rank to end when it is let go


def cards(gpus: int, device: str | torch.device | None) -> list[torch.device]:
    """Where each rank runs; on a CPU all run there. Raises UsageError where this machine cannot."""
    if gpus not in (1, 2, 4):
        raise UsageError(f"gpus={gpus}: use 1, 2 or 4")
    if os.name == "nt":
        raise UsageError(f"gpus={gpus}: several work together on Linux alone")
    first, here = torch.device(device or "cuda"), torch.cuda.device_count()
    if first.index is not None:
        raise UsageError(f"device={first}, gpus={gpus}: several are taken from the first one on; leave device out")
    if first.type == "cuda" and here < gpus:
        raise UsageError(f"gpus={gpus}: this machine has {here or 'none'}")
    if dist.is_initialized():
        raise UsageError(f"gpus={gpus}: this process is at work with others already; close that model first")
    return [torch.device("cuda", rank) if first.type == "cuda" else first for rank in range(gpus)]


class Crew:
    """All ranks from rank 0's side. `close` or the end of the object lets the others go."""

    def __init__(self, places: list[torch.device], load: Load) -> None:
        """Starts the ranks and loads the model on each. Raises what `load` does, and what becomes of the others."""
        self.places, self.device = places, places[0]
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._watch = Watch(places)
        self._end = weakref.finalize(self, self._watch.end)
        with self._guarded():
            for rank, place in enumerate(places[1:], start=1):
                self._watch.start_rank(Start(rank, len(places), store.port, place, load))
            self._watch.start()
            checkpoint = load(device=self.device)
            self._watch.all_loaded()
            ranks.join(store, 0, len(places), self.device)
            self.member = Member(checkpoint)

    def close(self) -> None:
        """Lets the other ranks go; nothing can be run any more."""
        self._end()

    def tell(self, name: str, *plain: Any) -> None:
        """Has the other ranks call a method of their Member."""
        with self._guarded():
            self._watch.order(Order(name, plain, []))

    def run(self, name: str, *tensors: Tensor, plain: tuple[Any, ...] = (), here: tuple[Any, ...] = ()) -> Any:
        """The result of a method of Member that all ranks call together, with these tensors and then plain values, and
        on rank 0 also with what is `here` alone.

        Raises PiyingError, naming the rank, where one dies or fails; then no rank is left.
        """
        tensors = tuple(tensor.contiguous() for tensor in tensors)
        with self._guarded():
            self._watch.order(Order(name, plain, [(tensor.shape, tensor.dtype) for tensor in tensors]))
            for tensor in tensors:
                dist.broadcast(tensor, 0)
            result = getattr(self.member, name)(*tensors, *plain, *here)
            if self.device.type == "cuda":
                self._finish()
            self._watch.check()
            return result

    def _finish(self) -> None:
        """Waits for the GPU, which could not be interrupted where a call of CUDA did."""
        done, began = torch.cuda.Event(), time.monotonic()
        done.record()
        while not done.query():
            self._watch.check()
            if time.monotonic() - began > ranks.PATIENCE.total_seconds():
                raise PiyingError(f"gpus={len(self.places)}: they wait for each other in vain; begin again")
            time.sleep(0.0005)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Ends all ranks where what runs inside fails: they no longer agree on what comes next."""
        self._watch.check()
        self._watch.busy = True
        try:
            yield
        except BaseException as error:
            # a peer that is gone fails what rank 0 does, and most often before the watch has heard of it
            maybe = isinstance(error, RuntimeError | OSError) and not isinstance(error, torch.OutOfMemoryError)
            reason = self._watch.news(5 * _SETTLE if maybe else 0)
            self._watch.told.set()
            self._watch.end(at_once=True)
            if reason and isinstance(error, Exception):
                raise reason from None
            raise
        finally:
            self._watch.busy = False


class Watch(threading.Thread):
    """Hears what the other ranks say, and what becomes of them. Knows nothing of the Crew, so that this may end."""

    def __init__(self, places: list[torch.device]) -> None:
        super().__init__(name="piying ranks", daemon=True)
        self.busy = False  # rank 0 is in a call
        self.told = threading.Event()  # rank 0 knows that one has failed
        self._places = places
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._channels: dict[int, Connection] = {}
        self._changed, self._leaving = threading.Condition(), threading.Lock()
        self._loaded: set[int] = set()
        self._reason: PiyingError | None = None
        self._ended = False

    def start_rank(self, start: Start) -> None:
        ours, theirs = Pipe()
        with theirs:
            self._processes[start.rank] = subprocess.Popen(
                [sys.executable, "-P", "-m", "piying.parallel.worker", str(theirs.fileno())],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._channels[start.rank] = ours
        ours.send(start)

    def order(self, order: Order) -> None:
        for channel in self._channels.values():
            channel.send(order)

    def all_loaded(self) -> None:
        """Returns when every rank has its model. Raises where one never will."""
        with self._changed:
            self._changed.wait_for(lambda: self._reason or len(self._loaded) == len(self._processes))
        self.check()

    def check(self) -> None:
        """Raises PiyingError where a rank has failed, or all were let go."""
        if reason := self._reason:
            self.told.set()
            raise reason
        if self._ended:
            raise PiyingError("the model is closed: load it again")

    def news(self, seconds: float) -> PiyingError | None:
        """Why a rank failed, if that is heard within so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._reason, seconds)
        return self._reason

    def run(self) -> None:
        """Listens until every channel is closed."""
        listening = {channel: rank for rank, channel in self._channels.items()}
        failures: list[tuple[int, int, PiyingError]] = []
        judged = None  # when all news of the first failure are here
        while listening or failures:
            left = None if judged is None else max(judged - time.monotonic(), 0)
            for channel in wait(list(listening), left):
                assert isinstance(channel, Connection)
                rank = listening[channel]
                try:
                    said = channel.recv()
                except (EOFError, OSError):
                    del listening[channel]
                    failures.append((0, rank, PiyingError(self._death(rank))))
                    continue
                if isinstance(said, Failed):
                    failures.append((1 + said.by_others, rank, self._error(rank, said)))
                else:
                    self._now_loaded(rank)
            if self._ended:  # each is let go
                failures.clear()
            if failures and judged is None:
                judged = time.monotonic() + _SETTLE
            if judged is not None and judged <= time.monotonic():
                self._fail(min(failures, key=lambda failure: failure[:2])[2])
                return

    def end(self, *, at_once: bool = False) -> None:
        """Lets all ranks go, at once or when they have done what they were told; none is left."""
        if self._ended:
            return
        self._ended = True
        for channel in self._channels.values():
            with suppress(OSError):
                channel.send(None)
        if at_once:
            self._kill()
        self._leave(at_once=at_once)
        for process in self._processes.values():
            try:
                process.wait(_LEAVING)
            except subprocess.TimeoutExpired:
                self._kill()
                process.wait()
        if self.is_alive():
            self.join()  # it has heard the last of them
        for channel in self._channels.values():
            channel.close()

    def _now_loaded(self, rank: int) -> None:
        with self._changed:
            self._loaded.add(rank)
            self._changed.notify_all()

    def _fail(self, reason: PiyingError) -> None:
        with self._changed:
            self._reason = reason
            self._changed.notify_all()
        self._kill()
        if self._places[0].type == "cuda":
            self._leave(at_once=True)  # wakes rank 0 where it waits for the GPU
        if self.busy and not self.told.wait(_BLOCKED):
            print(f"piying: {reason}", file=sys.stderr, flush=True)
            os._exit(reason.exit_code)

    def _leave(self, *, at_once: bool) -> None:
        with self._leaving:
            ranks.leave(at_once=at_once)

    def _kill(self) -> None:
        for process in self._processes.values():
            process.kill()

    def _who(self, rank: int) -> str:
        return f"rank {rank} of {len(self._places)} ({self._places[rank]})"

    def _error(self, rank: int, said: Failed) -> PiyingError:
        kind = getattr(errors, said.kind, PiyingError)
        if kind is OutOfMemory:
            return OutOfMemory(f"{self._who(rank)}: {said.text}: use fewer frames or a smaller size, or free that one")
        return kind(f"{self._who(rank)}: {said.text}")

    def _death(self, rank: int) -> str:
        process = self._processes[rank]
        with suppress(subprocess.TimeoutExpired):
            process.wait(_SETTLE)
        code = process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with {code}"
        return f"{self._who(rank)} {how}: begin again, or go on from the saved state"
