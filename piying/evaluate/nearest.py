"""Whether a model only repeats what it saw: the training clips that are most like its own."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from piying.theatre.scene import Scene
from piying.theatre.stage import render

MOMENTS, SIZE = 5, (12, 18)  # of a clip in the coarse space in which clips are compared
DRAWN = (48, 72)  # pixels of the canvas that training clips are drawn on for it


def nearest(clips: Tensor, scenes: Sequence[Scene]) -> tuple[Tensor, Tensor]:
    """The most similar scene of each clip. clips uint8 [N F H W 3] -> index [N], RMS distance of pixels in 0..1 [N]."""
    moments = torch.linspace(0, clips.shape[1] - 1, MOMENTS).round().long()
    space = torch.cat([coarse(render([scene], frames=MOMENTS, size=DRAWN).frames) for scene in scenes])
    distances = torch.cdist(coarse(clips[:, moments]), space) / space.shape[1] ** 0.5
    least = distances.min(dim=1)
    return least.indices, least.values


def coarse(clips: Tensor) -> Tensor:
    """uint8 [N T H W 3] -> [N D] in 0..1."""
    small = F.adaptive_avg_pool2d(clips.flatten(0, 1).permute(0, 3, 1, 2).float() / 255, SIZE)
    return small.unflatten(0, clips.shape[:2]).flatten(1)
