"""How close one picture is to another: PSNR and SSIM of uint8 pictures [N H W 3]; and what a VAE makes of frames."""

import torch
import torch.nn.functional as F
from torch import Tensor

from piying.memory.lend import at_hand
from piying.models.vae import VAE, to_frames, to_pixels

PEAK = 255.0
SIGMA, WINDOW = 1.5, 11  # Wang et al. 2004
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each picture. a, b [N H W 3] uint8 -> [N]; equal pictures give infinity."""
    error = (a.double() - b.double()).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(PEAK**2 / error)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of the luma of each picture: an 11 x 11 Gaussian window that stays inside the picture.

    a, b [N H W 3] uint8, H and W at least 11 -> [N], 1 where equal. Wang, Bovik, Sheikh and Simoncelli,
    "Image quality assessment: from error visibility to structural similarity", 2004, equation 13.
    """
    x, y = luma(a), luma(b)
    mean_x, mean_y = window_mean(x), window_mean(y)
    variance_x = window_mean(x * x) - mean_x.square()
    variance_y = window_mean(y * y) - mean_y.square()
    covariance = window_mean(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + C1) * (2 * covariance + C2)) / (
        (mean_x.square() + mean_y.square() + C1) * (variance_x + variance_y + C2)
    )
    return similarity.mean(dim=(1, 2, 3))


def luma(pictures: Tensor) -> Tensor:
    """ITU-R BT.601 luma. [N H W 3] uint8 -> [N 1 H W] float64, 0..255."""
    weights = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64, device=pictures.device)
    return (pictures.double() @ weights)[:, None]


def window_mean(x: Tensor) -> Tensor:
    """The Gaussian mean around each pixel that has a whole window. [N 1 H W] -> [N 1 H-10 W-10]."""
    offsets = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * SIGMA**2))
    weights = weights / weights.sum()
    return F.conv2d(F.conv2d(x, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1))


@torch.inference_mode()
def reconstruct(vae: VAE, frames: Tensor) -> Tensor:
    """Frames through the VAE and back, on the device of the frames. uint8 [B F H W 3] -> the same."""
    with at_hand(vae, frames.device):
        weight, rebuilt = next(vae.parameters()), []
        for clips in frames.split(8):
            rebuilt.append(to_frames(vae.decode(vae.encode(to_pixels(clips).to(weight))[0])))
    return torch.cat(rebuilt)
