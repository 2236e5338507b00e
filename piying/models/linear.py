"""A linear layer that adapters can add to."""

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn


class Change(Protocol):
    """What an adapter adds to a layer: given its input [.. in], its own output [.. out] and the layer -> [.. out]."""

    def __call__(self, x: Tensor, y: Tensor, layer: "Linear") -> Tensor: ...


class Linear(nn.Linear):
    """x W^T + b, and the sum of all changes, each of which sees the layer alone and not the others.

    A weight with more than two dimensions is a published convolution over whole patches: one matrix [out, rest].
    Changes are an attribute and not hooks, since compiled code notices a new attribute and no new hook; they are no
    submodules either, so that names and files of the weights stay what they are.
    """

    changes: tuple[Change, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        total = y = F.linear(x, self.weight.flatten(1), self.bias)
        for change in self.changes:
            total = total + change(x, y, self)
        return total
