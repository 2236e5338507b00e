"""What a judge sees of a clip: a few of its frames, on the one canvas that judges know."""

import torch
import torch.nn.functional as F
from torch import Tensor

CANVAS = (96, 144)  # height, width in pixels, as nano has it
LOOKS = 17


def subsample(clips: Tensor) -> Tensor:
    """Frames spread evenly from the first to the last. [B F H W 3] -> [B 17 H W 3]."""
    return clips[:, torch.linspace(0, clips.shape[1] - 1, LOOKS).round().long()]


def pictures(clips: Tensor) -> Tensor:
    """uint8 [B T H W 3] of any canvas -> [B T 3 96 144] in -1..1."""
    x = clips.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
    if x.shape[-2:] != CANVAS:
        x = F.interpolate(x, CANVAS, mode="bilinear", antialias=True)
    return x.unflatten(0, clips.shape[:2])
