"""The loop from noise to sample."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from piying.sampling.schedule import Level, remove_noise
from piying.sampling.steps import Noise, State, Step, ddim


def denoise(
    predict_v: Callable[[Tensor, int], Tensor],
    x: Tensor,
    levels: Sequence[Level],
    step: Step = ddim,
    noise: Noise | None = None,
    before: State | None = None,
    hold: Callable[[Tensor, float], Tensor] | None = None,
) -> Iterator[State]:
    """Noise to sample, state by state; the caller shows, saves or stops. The last state's x is the sample.

    `predict_v(x, timestep)` returns v in the shape of x. `noise` serves samplers that add some; without it the global
    generator of torch does. A state `s` is taken up again by `denoise(predict_v, s.x, levels[s.level.step + 1 :],
    before=s, ...)` with the noise that would have come next. `hold(x, alpha)` returns x with what is known of it put
    back in its place, as noisy as alpha says: the rest is then made to fit (arXiv:2201.09865, section 4.1).
    """
    noise = noise or (lambda: torch.randn_like(x))
    for level in levels:
        x0 = remove_noise(x, predict_v(x, level.timestep), level.alpha)
        x = step(x, x0, level, before, noise)
        if hold:
            x = hold(x, level.next_alpha)
        before = State(level, x, x0)
        yield before
