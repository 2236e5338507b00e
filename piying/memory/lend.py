"""Tensors of a module replaced for a while: copies on a card for those that lie in host memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Shelf = dict[str, Tensor | nn.Parameter | None]


@contextmanager
def lent(module: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, the module has these tensors, by name, in place of its own parameters and buffers; then its own again."""
    own = [(*shelf(module, name), tensor) for name, tensor in tensors.items()]
    before = [(place, key, place[key]) for place, key, _ in own]
    try:
        for place, key, tensor in own:
            place[key] = like(place[key], tensor)
        yield
    finally:
        for place, key, original in before:
            place[key] = original


@contextmanager
def at_hand(module: nn.Module, device: torch.device, float32: str | None = None) -> Iterator[None]:
    """Inside, the module is on the device: what lies elsewhere is copied there, and the copies go afterwards.

    float16 tensors whose name ends in `float32` become that type.
    """
    wanted = {name: (tensor, cast(name, tensor, float32)) for name, tensor in tensors_of(module).items()}
    copies = {
        name: tensor.to(device, dtype)
        for name, (tensor, dtype) in wanted.items()
        if (tensor.device, tensor.dtype) != (device, dtype)
    }
    with lent(module, copies):
        yield


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer, of any type."""
    return {name: tensor.detach() for name, tensor in (*module.named_parameters(), *module.named_buffers())}


def like(original: Tensor | None, tensor: Tensor) -> Tensor:
    """A tensor as a parameter, where the one whose place it takes is such."""
    if isinstance(original, nn.Parameter) and not isinstance(tensor, nn.Parameter):
        return nn.Parameter(tensor, requires_grad=False)
    return tensor


def shelf(module: nn.Module, name: str) -> tuple[Shelf, str]:
    """The dictionary that holds a tensor of the module, and the key there."""
    owner, _, key = name.rpartition(".")
    place = module.get_submodule(owner)
    return (place._parameters if key in place._parameters else place._buffers), key  # type: ignore[return-value]


def cast(name: str, tensor: Tensor, float32: str | None) -> torch.dtype:
    """The type that a tensor has where it computes."""
    wide = float32 is not None and name.endswith(float32) and tensor.dtype == torch.float16
    return torch.float32 if wide else tensor.dtype
