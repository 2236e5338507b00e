"""How much noise a sample holds at each timestep, and which timesteps a sampler visits.

A noisy sample is x = sqrt(alpha) x0 + sqrt(1 - alpha) eps, where alpha, a float in 0..1, is the cumulative product that
papers write as alpha with a bar. Tensors have any shape; a tensor of alphas must broadcast against them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from piying.config import ScheduleConfig


@dataclass(frozen=True)
class Level:
    """One step of a sampler: from `alpha` to `next_alpha`."""

    step: int  # 0..steps-1
    timestep: int  # 0..999, what the model is told
    alpha: float
    next_alpha: float  # 1 is clean


def alphas(config: ScheduleConfig) -> Tensor:
    """alpha of each timestep [timesteps], float64, falling to exactly 0.

    Scaled-linear betas; SNR divided by `snr_shift` (after arXiv:2403.03206, section 5.3); then zero terminal
    SNR (arXiv:2305.08891, algorithm 1).
    """
    betas = torch.linspace(config.beta_start**0.5, config.beta_end**0.5, config.timesteps, dtype=torch.float64) ** 2
    alpha = (1 - betas).cumprod(0)
    alpha = alpha / (config.snr_shift + (1 - config.snr_shift) * alpha)
    root = alpha.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def levels(config: ScheduleConfig, steps: int) -> list[Level]:
    """The levels that a sampler of 1..timesteps steps visits, with trailing timesteps (arXiv:2305.08891, section 3.3).

    A step aims at `timestep - timesteps // steps`, as the published samplers do. Where `steps` does not divide 1000,
    that misses the next timestep by one or two, and some counts (6, 7, 15) end a hair short of clean.
    """
    alpha = alphas(config).tolist()
    # Floats round exact halves (steps=48) either way, so this is the published expression; it may give one too many.
    timesteps = np.round(np.arange(config.timesteps, 0, -config.timesteps / steps)).astype(int)[:steps] - 1
    stride = config.timesteps // steps
    return [
        Level(step, timestep, alpha[timestep], alpha[timestep - stride] if timestep >= stride else 1.0)
        for step, timestep in enumerate(timesteps.tolist())
    ]


def add_noise(x0: Tensor, eps: Tensor, alpha: float | Tensor) -> Tensor:
    """The noisy sample x."""
    return alpha**0.5 * x0 + (1 - alpha) ** 0.5 * eps


def velocity(x0: Tensor, eps: Tensor, alpha: float | Tensor) -> Tensor:
    """What the model learns to predict: v = sqrt(alpha) eps - sqrt(1 - alpha) x0 (arXiv:2202.00512, section 4)."""
    return alpha**0.5 * eps - (1 - alpha) ** 0.5 * x0


def remove_noise(x: Tensor, v: Tensor, alpha: float | Tensor) -> Tensor:
    """x0 from a noisy sample and its v, the inverse of `add_noise` (arXiv:2202.00512, section 4)."""
    return alpha**0.5 * x - (1 - alpha) ** 0.5 * v
