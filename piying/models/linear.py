"""A linear layer that adapters can add to, and whose weight may be of eight bits."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piying import ops
from piying.ops import Narrow


class Change(Protocol):
    """What an adapter adds to a layer: given its input [.. in], its own output [.. out] and the layer -> [.. out]."""

    def __call__(self, x: Tensor, y: Tensor, layer: "Linear") -> Tensor: ...


class Linear(nn.Linear):
    """x W^T + b, and the sum of all changes, each of which sees the layer alone and not the others.

    A weight with more than two dimensions is a published convolution over whole patches: one matrix [out, rest].
    Where there is a `weight_scale` [out groups], the weight is int8 or float8 [out in], and W is each value times the
    scale of its row and its group of inputs (see models/quant.py). With `narrow` the product is one of eight bits (see
    `ops.narrow`), whatever the weight is kept in.
    Changes are an attribute and not hooks, since compiled code notices a new attribute and no new hook; they are no
    submodules either, so that names and files of the weights stay what they are.
    """

    changes: tuple[Change, ...] = ()
    narrow: bool = False
    weight_scale: Tensor | None

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias)
        self.register_buffer("weight_scale", None)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        return (self.weight if self.weight_scale is None else self.weight_scale).dtype

    def matrix(self, dtype: torch.dtype) -> Tensor:
        """W [out in] as plain numbers."""
        if self.weight_scale is None:
            return self.weight.flatten(1).to(dtype)
        groups = self.weight_scale.shape[1]
        return self.weight.to(dtype).unflatten(1, (groups, -1)).mul_(self.weight_scale[:, :, None]).flatten(1)

    def forward(self, x: Tensor, narrowed: Narrow | None = None) -> Tensor:
        """x [.. in] -> [.. out]. `narrowed` is `ops.narrow(x)` where several layers share it."""
        total = y = self.product(x, narrowed)
        for change in self.changes:
            total = total + change(x, y, self)
        return total

    def product(self, x: Tensor, narrowed: Narrow | None = None) -> Tensor:
        """x W^T + b alone."""
        if self.narrow:
            return ops.narrow_product(narrowed or ops.narrow(x), self.narrow_weight(), self.bias, x.dtype)
        return F.linear(x, self.matrix(self.dtype), self.bias)

    def narrow_weight(self) -> Narrow:
        """W as float8 with a scale for each row: as it is kept, or else made anew, which costs little beside x."""
        if self.weight_scale is not None and self.weight.dtype == ops.NARROW:
            return Narrow(self.weight, self.weight_scale.float())
        return ops.narrow(self.matrix(self.dtype))
