"""Several processes with one GPU each that train one model, as torchrun starts them; a process alone is rank 0 of 1.

Each rank draws samples of its own; gradients are averaged, so that all take the same step. Rank 0 decides and writes.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor


@contextmanager
def together() -> Iterator[None]:
    """Inside, the ranks that torchrun started know each other, and each has the GPU that is its own."""
    if "LOCAL_RANK" not in os.environ:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    yield
    dist.barrier()  # one that leaves earlier takes its connections from the others
    dist.destroy_process_group()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """How many train together."""
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
    dist.broadcast(said, 0)
    return bool(said)


def wait() -> None:
    """Goes on when rank 0 has come here."""
    lead(True)
