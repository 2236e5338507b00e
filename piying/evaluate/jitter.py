"""What a renderer, a VAE or a video file may change without changing a fact, and a mirror, which changes few."""

import torch
import torch.nn.functional as F
from torch import Tensor

from piying.evaluate.looks import pictures

BRIGHTNESS, CONTRAST, TINT, NOISE = 0.08, 0.12, 0.04, 0.08  # at most, of pixels in -1..1
SHIFT = 4  # pixels


def jitter(clips: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Clips uint8 [B T H W 4], whose fourth channel is a mask, each changed in its own way and all its frames alike.

    -> pictures [B T 3 H W] in -1..1, masks [B T H W], whether each is mirrored [B].
    """
    moved, mirrored = move(clips, generator)
    return colour(pictures(moved[..., :3]), generator), moved[..., 3], mirrored


def move(clips: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each clip [B T H W C] shifted, its edges repeated, and half of them mirrored [B]."""
    b, t, height, width = clips.shape[:4]
    shifts = torch.randint(-SHIFT, SHIFT + 1, (2, b, 1), generator=generator, device=clips.device)
    mirrored = torch.rand(b, generator=generator, device=clips.device) < 0.5
    rows = torch.arange(height, device=clips.device) + shifts[0]
    columns = torch.arange(width, device=clips.device) + shifts[1]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    clip, frame = (torch.arange(n, device=clips.device) for n in (b, t))
    index = clip[:, None, None, None], frame[:, None, None], rows[:, None, :, None], columns[:, None, None, :]
    return clips[index], mirrored


def colour(x: Tensor, generator: torch.Generator) -> Tensor:
    """Clips [B T 3 H W] in -1..1, darker or lighter, tinted, blurred and noisy."""

    def symmetric(*shape: int) -> Tensor:
        return 2 * torch.rand(*shape, generator=generator, device=x.device) - 1

    b, t = x.shape[:2]
    x = x * (1 + CONTRAST * symmetric(b, 1, 1, 1, 1)) + BRIGHTNESS * symmetric(b, 1, 1, 1, 1)
    x = x + TINT * symmetric(b, 1, 3, 1, 1)
    half = F.interpolate(F.avg_pool2d(x.flatten(0, 1), 2), scale_factor=2, mode="bilinear").unflatten(0, (b, t))
    x = torch.lerp(x, half, 0.7 * symmetric(b, 1, 1, 1, 1).clamp(min=0))
    chroma = x.mean(2, keepdim=True) + half - half.mean(2, keepdim=True)  # halved, as in a video file
    x = torch.where(symmetric(b, 1, 1, 1, 1) < 0, chroma, x)
    x = x + torch.randn(x.shape, generator=generator, device=x.device) * NOISE * symmetric(b, 1, 1, 1, 1).clamp(min=0)
    return x.clamp(-1, 1)
