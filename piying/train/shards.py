"""Weights split over the ranks that torchrun started: each holds a part and lends it when a block is run (FSDP2)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from piying.errors import UsageError
from piying.models.transformer import Block, Transformer
from piying.parallel import ranks


def shard(transformer: Transformer, device: torch.device) -> None:
    """Splits a transformer; parts go to the device. The adaptive norms' matrices, which all run before the first block,
    are groups of their own, so that no block is gathered for them."""
    mesh = init_device_mesh(device.type, (ranks.count(),))
    for block in transformer.transformer_blocks:
        assert isinstance(block, Block)
        for norm in (block.norm1, block.norm2):
            fully_shard(norm.linear, mesh=mesh)
        fully_shard(block, mesh=mesh)
    fully_shard(transformer, mesh=mesh)


def gather(transformer: Transformer) -> dict[str, Tensor]:
    """The whole weights by name, on the CPU of rank 0; elsewhere nothing. All ranks have to ask."""
    whole = {}
    for name, tensor in transformer.state_dict().items():
        full = tensor.full_tensor()
        if ranks.rank() == 0:
            whole[name] = full.cpu()
    return whole


def is_split(tensor: Tensor) -> bool:
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor that is split, else the tensor."""
    return (tensor.to_local() if is_split(tensor) else tensor).detach()  # type: ignore[attr-defined]


@torch.no_grad()
def fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copies this rank's parts into a module. Raises KeyError where one is missing."""
    for name, tensor in module.state_dict().items():
        local(tensor).copy_(tensors[name])


def newest(steps: Sequence[int], folder: Path) -> int:
    """The last of the steps that every rank brings from its part of a folder; 0 where none brings any. All have to ask.

    Raises UsageError where they have none in common: then the parts of one are missing.
    """
    brought: list[Sequence[int]] = [()] * ranks.count()
    dist.all_gather_object(brought, steps)
    common = set(brought[0]).intersection(*brought)
    if any(brought) and not common:
        raise UsageError(f"{folder}: no step that every process saved is there; bring back the parts, or delete all")
    return max(common, default=0)


def total(value: Tensor) -> Tensor:
    """The sum over all ranks."""
    if ranks.count() > 1:
        dist.all_reduce(value)
    return value
