"""One step of each sampler. A step takes x and the estimate x0 at a level and returns x at the level's next alpha."""

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from piying.sampling.schedule import Level


class State(NamedTuple):
    """What a finished step leaves. It is all that the following step needs, so a saved state can be taken up again."""

    level: Level
    x: Tensor  # the sample at level.next_alpha
    x0: Tensor  # the clean sample as estimated at level.alpha


Noise = Callable[[], Tensor]  # draws standard Gaussian noise of the shape of x
Step = Callable[[Tensor, Tensor, Level, State | None, Noise], Tensor]


def ddim(x: Tensor, x0: Tensor, level: Level, before: State | None, noise: Noise) -> Tensor:
    """DDIM, deterministic (arXiv:2010.02502, equation 12 with sigma = 0)."""
    keep = ((1 - level.next_alpha) / (1 - level.alpha)) ** 0.5
    return keep * x + (level.next_alpha**0.5 - level.alpha**0.5 * keep) * x0


def dpm(x: Tensor, x0: Tensor, level: Level, before: State | None, noise: Noise) -> Tensor:
    """SDE-DPM-Solver++(2M) (arXiv:2211.01095, algorithm 2 in its form for the diffusion SDE).

    First order without a state before, and where the step ends clean. The published sampler makes the first-order step
    before each second-order one and throws its noise away; drawing twice keeps the noise of a seed the same.
    """
    sigma, next_sigma = (1 - level.alpha) ** 0.5, (1 - level.next_alpha) ** 0.5
    decay = _decay(level.alpha, level.next_alpha)
    drawn = noise()
    if before is not None and level.next_alpha < 1:
        drawn = noise()
        last_decay = _decay(before.level.alpha, level.alpha)
        if last_decay > 0:  # 0 after pure noise: an infinite step, whose estimate weighs nothing
            x0 = x0 + math.log(decay) / (2 * math.log(last_decay)) * (x0 - before.x0)
    estimate = (1 - decay**2) * level.next_alpha**0.5 * x0
    return next_sigma / sigma * decay * x + estimate + next_sigma * (1 - decay**2) ** 0.5 * drawn


def _decay(alpha: float, next_alpha: float) -> float:
    """exp(-h) for the step h in half log-SNR: 0 from pure noise and to clean."""
    return (alpha * (1 - next_alpha) / ((1 - alpha) * next_alpha)) ** 0.5


STEPS: dict[str, Step] = {"ddim": ddim, "dpm": dpm}
