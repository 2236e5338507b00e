"""Weights of eight bits: half the memory, half the transfer, and rounding that shows a little.

What is quantised are the products inside of the blocks, of the transformer and of T5; embeddings, norms, adaptive
norms, and what brings patches in and out stay as they were trained. Products are computed in the model's own precision,
from W as it is rounded here.
int8 has a scale for each 64 inputs of a row, which takes 3 % more memory than one for a row and a third of its error
away. float8 (e4m3) has one for a row, since that is what products of eight bits take (`ops.narrow_product`).
Scales are bfloat16, so that every precision of a model holds them exactly.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from piying.config import Weights
from piying.models.linear import Linear
from piying.ops import LEAST, NARROW

GROUP = 64  # inputs that share a scale in int8
Quantised = Literal["int8", "fp8"]
TYPES: dict[Weights, torch.dtype] = {"int8": torch.int8, "fp8": NARROW}
SCALE = torch.bfloat16
_MOST = {"int8": 127.0, "fp8": torch.finfo(NARROW).max}


def quantise(weight: Tensor, kind: Quantised) -> tuple[Tensor, Tensor]:
    """W [out in] -> its values in int8 or float8 [out in] and their scales in bfloat16 [out groups].

    Rounds to the nearest, with the largest of each group at the end of the range.
    """
    parts, scale = _scaled(weight, kind)
    parts = parts / scale[:, :, None].float()
    if kind == "int8":
        parts = parts.round()
    return parts.clamp(-_MOST[kind], _MOST[kind]).flatten(1).to(TYPES[kind]), scale


def scales(weight: Tensor, kind: Quantised) -> Tensor:
    """The scales alone."""
    return _scaled(weight, kind)[1]


def products(module: nn.Module) -> dict[str, Linear]:
    """The layers of a transformer or a text encoder that are quantised, by name."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, Linear) and "blocks." in name and ".norm" not in name
    }


def prepare(module: nn.Module, kind: Quantised) -> None:
    """Gives a module on the meta device the tensors that quantised weights need."""
    for layer in products(module).values():
        rows, columns = layer.weight.shape
        with torch.device("meta"):
            layer.weight = nn.Parameter(torch.empty(rows, columns, dtype=TYPES[kind]), requires_grad=False)
            layer.weight_scale = torch.empty(rows, groups(columns, kind), dtype=SCALE)


def groups(inputs: int, kind: Quantised) -> int:
    """How many scales a row has."""
    return inputs // GROUP if kind == "int8" and inputs % GROUP == 0 else 1


@contextmanager
def narrowed(module: nn.Module) -> Iterator[None]:
    """Inside, the products of a transformer's blocks are of eight bits, whatever their weights are kept in."""
    before = {layer: layer.narrow for layer in products(module).values()}
    for layer in before:
        layer.narrow = True
    try:
        yield
    finally:
        for layer, narrow in before.items():
            layer.narrow = narrow


def _scaled(weight: Tensor, kind: Quantised) -> tuple[Tensor, Tensor]:
    """W in float32 [out groups in/groups], and the scales [out groups]."""
    parts = weight.float().unflatten(1, (groups(weight.shape[1], kind), -1))
    return parts, (parts.abs().amax(-1) / _MOST[kind]).clamp_min(LEAST).to(SCALE)
