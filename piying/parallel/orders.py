"""What the ranks of a crew say to each other, tensors aside."""

from typing import Any, NamedTuple, Protocol

import torch

from piying.weights import Checkpoint


class Load(Protocol):
    """Gives the model; travels to the other ranks, so it is a function of a module, or a partial of one."""

    def __call__(self, *, device: torch.device) -> Checkpoint: ...


class Start(NamedTuple):
    """The first thing that a rank is told."""

    rank: int
    total: int
    port: int  # where the ranks meet
    device: torch.device
    load: Load


class Order(NamedTuple):
    """A call of a method of Member: tensors, which rank 0 sends to all, then plain values."""

    name: str
    plain: tuple[Any, ...]
    tensors: list[tuple[torch.Size, torch.dtype]]


class Failed(NamedTuple):
    """The last thing that a rank says."""

    kind: str  # of error, by name
    text: str
    by_others: bool  # most likely because another rank is gone
