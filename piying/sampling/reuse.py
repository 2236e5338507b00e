"""Fewer questions to the model: at some steps its answer is foretold from earlier ones.

What the model takes for the clean sample, x0, changes quickly while a video is composed and slowly afterwards, so
between two steps at which the model is asked it lies nearly on a line. A step that is not asked continues the line
through the last two that were; samplers see no difference. Block caches (TeaCache, arXiv:2411.19108, and the first
block's residual) keep hidden states of the size of the activations, and run a part of the model at every step; this
keeps two estimates of the size of the latents and runs nothing, and at the same cost it came nearer to the exact video
(docs/performance.md).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from piying.sampling.schedule import Level, remove_noise, velocity

Predict = Callable[[Tensor, int], Tensor]


def asked(steps: int) -> list[bool]:
    """Whether the model is asked at each step."""
    return [True] * steps


class Foretold:
    """A predict_v that asks another one at some of the levels only.

    `known` are the estimates of x0 at the last levels that were asked, at most two: with them a sampler that was
    stopped goes on as if it had not been.
    """

    def __init__(self, predict_v: Predict, levels: Sequence[Level], known: Sequence[Tensor] = (), done: int = 0) -> None:
        """`known` as it was after `done` of the levels."""
        self._predict_v, self._levels = predict_v, {level.timestep: level for level in levels}
        places = [level for level, ask in zip(levels, asked(len(levels)), strict=True) if ask]
        self._asked = {level.timestep for level in places}
        before = [level.timestep for level in places if level in levels[:done]]
        self._known = list(zip(before[-2:], known, strict=True))

    @property
    def known(self) -> list[Tensor]:
        return [x0 for _, x0 in self._known]

    def __call__(self, x: Tensor, timestep: int) -> Tensor:
        """v of x at the timestep of a level."""
        alpha = self._levels[timestep].alpha
        if timestep in self._asked:
            v = self._predict_v(x, timestep)
            self._known = [*self._known[-1:], (timestep, remove_noise(x, v, alpha))]
            return v
        (first, a), (second, b) = self._known
        x0 = torch.lerp(a, b, (timestep - first) / (second - first))
        return velocity(x0, (x - alpha**0.5 * x0) / (1 - alpha) ** 0.5, alpha)
