"""What a renderer, a VAE or a video file may change without changing a fact."""

import torch
import torch.nn.functional as F
from torch import Tensor

BRIGHTNESS, CONTRAST, TINT, NOISE = 0.08, 0.12, 0.04, 0.08  # at most, of pixels in -1..1
SHIFT = 4  # pixels


def jitter(x: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Clips [B T 3 H W] in -1..1, each changed in its own way, all shifted alike; masks [B T H W] are shifted alike."""

    def symmetric(*shape: int) -> Tensor:
        return 2 * torch.rand(*shape, generator=generator, device=x.device) - 1

    b, t, _, height, width = x.shape
    x = x * (1 + CONTRAST * symmetric(b, 1, 1, 1, 1)) + BRIGHTNESS * symmetric(b, 1, 1, 1, 1)
    x = x + TINT * symmetric(b, 1, 3, 1, 1)
    half = F.interpolate(F.avg_pool2d(x.flatten(0, 1), 2), scale_factor=2, mode="bilinear").unflatten(0, (b, t))
    x = torch.lerp(x, half, 0.7 * symmetric(b, 1, 1, 1, 1).clamp(min=0))
    chroma = x.mean(2, keepdim=True) + half - half.mean(2, keepdim=True)  # halved, as in a video file
    x = torch.where(symmetric(b, 1, 1, 1, 1) < 0, chroma, x)
    x = x + torch.randn(x.shape, generator=generator, device=x.device) * NOISE * symmetric(b, 1, 1, 1, 1).clamp(min=0)
    down, right = torch.randint(0, 2 * SHIFT + 1, (2,), generator=generator, device=x.device).tolist()

    def shifted(images: Tensor) -> Tensor:
        padded = F.pad(images.flatten(0, 1), (SHIFT,) * 4, mode="replicate")
        return padded[..., down : down + height, right : right + width].unflatten(0, (b, t))

    return shifted(x).clamp(-1, 1), shifted(masks[:, :, None].float())[:, :, 0].to(masks.dtype)
