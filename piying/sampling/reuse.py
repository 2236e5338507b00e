"""Fewer questions to the model: at some steps its answer is foretold from earlier ones.

What the model takes for the clean sample, x0, changes quickly while a video is composed and slowly afterwards, and lies
nearly on a line from one step at which the model is asked to the next. A step that is not asked continues the line
through the last two that were. A sampler that adds noise shakes the estimates, so that a line through two of them leads
astray: there the last one holds. Samplers see no difference. Block caches (TeaCache, arXiv:2411.19108, and the first
block's residual) keep hidden states of the size of the activations, and run a part of the model at every step; this
keeps two estimates of the size of the latents and runs nothing, and at the same cost it came nearer to the exact video
(docs/performance.md).
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from piying.sampling.schedule import Level, remove_noise, velocity

Predict = Callable[[Tensor, int], Tensor]  # x [..], timestep -> v [kinds ..], e.g. without a prompt and with it


LEAP = 4  # a part of the way come so far is the leap to the next question; benchmarks/fast.py compares others


def asked(steps: int, leap: int = LEAP) -> list[bool]:
    """Whether the model is asked at each step: first at every one, then after leaps that grow with the way come, and at
    the last one."""
    places, place = {steps - 1}, 0
    while place < steps:
        places.add(place)
        place += max(1, place // leap)
    return [place in places for place in range(steps)]


class Foretold:
    """A predict_v that asks another one at some of the levels only.

    A sampler that was stopped after `done` of the levels goes on as if it had not been, with the `estimates` of then.
    """

    def __init__(
        self,
        predict_v: Predict,
        levels: Sequence[Level],
        estimates: Iterable[Tensor] = (),
        done: int = 0,
        *,
        noisy: bool = False,
    ) -> None:
        """`noisy`: whether the sampler adds noise."""
        asks, self._noisy = asked(len(levels)), noisy
        self._predict_v, self._alphas = predict_v, {level.timestep: level.alpha for level in levels}
        self._asked = {level.timestep for level, ask in zip(levels, asks, strict=True) if ask}
        before = [level.timestep for level in levels[:done] if level.timestep in self._asked]
        self._known = list(zip(before[-2:], estimates, strict=True))

    @property
    def estimates(self) -> Tensor:
        """x0 at the last levels that were asked, at most two [K ..]."""
        return torch.stack([x0 for _, x0 in self._known])

    def __call__(self, x: Tensor, timestep: int) -> Tensor:
        """v of x [..] at the timestep of a level, of as many kinds as are asked for [kinds ..].

        Guidance comes after it: its strength may change from step to step.
        """
        alpha = self._alphas[timestep]
        if timestep in self._asked:
            v = self._predict_v(x, timestep)
            others = [known for known in self._known if known[0] != timestep]  # a failed step is made again
            self._known = [*others[-1:], (timestep, remove_noise(x, v, alpha))]
            return v
        (first, a), (second, b) = self._known
        x0 = b if self._noisy else torch.lerp(a, b, (timestep - first) / (second - first))
        return velocity(x0, (x - alpha**0.5 * x0) / (1 - alpha) ** 0.5, alpha)
