"""What of a clip is given beforehand while a model learns, as a person will give it.

Shapes: B batch, F latent frames, C channels, H W latent cells.
"""

from typing import Protocol

import torch
from torch import Tensor


class Given(Protocol):
    """How many clips of a batch get what, as shares."""

    @property
    def first_frame(self) -> float: ...

    @property
    def first_and_last(self) -> float: ...

    @property
    def continuation(self) -> float: ...


def fill_patch(x0: Tensor, frames: int) -> Tensor:
    """Repeats the first latent frame of x0 [B F C H W] until a patch's frames divide F; dropped again in the end."""
    return torch.cat([x0[:, :1]] * (-x0.shape[1] % frames) + [x0], dim=1)


def condition(x0: Tensor, images: Tensor, recipe: Given, generator: torch.Generator) -> Tensor:
    """For each clip x0 [B F C H W] nothing, its first image, its first and last image, or its own beginning.

    images [B 2 C H W] are latents of the first and the last frame, each encoded alone, as they will be given.
    """
    frames, device = x0.shape[1], x0.device
    drawn = torch.rand(2, len(x0), generator=generator, device=device)
    length = 1 + (drawn[1] * max(frames - 1, 1)).long()  # of a beginning, never the whole clip where it has more
    begun = drawn[0] < recipe.continuation
    ended = drawn[0] < recipe.continuation + recipe.first_and_last
    opened = drawn[0] < recipe.continuation + recipe.first_and_last + recipe.first_frame
    known = begun[:, None] & (torch.arange(frames, device=device) < length[:, None])
    given = torch.where(known[:, :, None, None, None], x0, 0)
    given[:, 0] = torch.where((opened & ~begun)[:, None, None, None], images[:, 0], given[:, 0])
    given[:, -1] = torch.where((ended & ~begun)[:, None, None, None], images[:, 1], given[:, -1])
    return given
