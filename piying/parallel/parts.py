"""A tensor in parts, one on each rank of a group."""

import torch
import torch.distributed as dist
from torch import Tensor

Group = dist.ProcessGroup | None  # None: all ranks


def even(whole: int, parts: int) -> list[int]:
    """`whole` things in so many parts as equal as can be, larger ones first: 7 in 3 are [3, 2, 2]."""
    return [whole // parts + (place < whole % parts) for place in range(parts)]


def gather(x: Tensor, sizes: list[int], dim: int, group: Group = None) -> Tensor:
    """The parts of all ranks put together along a dimension, on each of them; sizes[rank] is what a rank brings."""
    most = max(sizes)
    padded = torch.cat([x, x.new_zeros(*x.shape[:dim], most - x.shape[dim], *x.shape[dim + 1 :])], dim).contiguous()
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded, group)
    return torch.cat([part.narrow(dim, 0, size) for part, size in zip(parts, sizes, strict=True)], dim)
