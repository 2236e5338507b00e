"""Several processes with one GPU each; a process alone is rank 0 of 1.

In training, which torchrun starts, each rank draws samples of its own; gradients are averaged, so that all take the
same step. Rank 0 decides and writes. The ranks that make one video are started by `crew`.
"""

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(minutes=5)  # for what another rank owes: all work alike, but a first step may compile

ALONE = timedelta(days=1)  # for what rank 0 does alone: it may encode thousands of clips, or make videos


@contextmanager
def together() -> Iterator[None]:
    """Inside, the ranks that torchrun started know each other, and each has the GPU that is its own."""
    if "LOCAL_RANK" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    _leading()  # while all are here
    yield
    wait()  # rank 0 may still write what came out
    dist.barrier()  # one that leaves earlier takes its connections from the others
    gc.collect()  # what holds a group after its end, as split weights do in cycles, may abort the process when it ends
    leave()


def join(store: dist.Store, number: int, total: int, device: torch.device) -> None:
    """Becomes one of the ranks that meet in a store."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")  # else torch ends the process, without a word
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=total, timeout=PATIENCE)


def leave(*, at_once: bool = False) -> None:
    """Is no rank any more; at once also while others hold up work on the GPU, which is then given up."""
    if not dist.is_initialized():
        return
    _leading.cache_clear()
    if at_once and dist.get_backend() == "nccl":
        dist.distributed_c10d._abort_process_group()
    else:
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """How many there are together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def share(whole: int, ranks: int | None = None) -> int:
    """What each rank does of `whole` things; `ranks` for a process beside them, which does not know their number."""
    return max(1, whole // (ranks or count()))


def average(tensors: Sequence[Tensor]) -> None:
    """The mean over all ranks, in place; all ranks bring the same shapes."""
    if count() > 1 and tensors:
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        parts = (flat / count()).split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(list(tensors), [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)])


def lead(choice: bool) -> bool:
    """What rank 0 chose. Every rank has to ask."""
    if count() == 1:
        return choice
    said = torch.tensor([choice])
    dist.broadcast(said, 0, _leading())
    return bool(said)


@cache
def _leading() -> dist.ProcessGroup:
    """All ranks once more, for words of rank 0 that may be long in coming."""
    return dist.new_group(timeout=ALONE, backend="gloo")


def wait() -> None:
    """Goes on when rank 0 has come here."""
    lead(True)
