"""Steps that are foretold: where the model answers along a line nothing is lost, and each question is asked once."""

import pytest
import torch

from piying.config import COGVIDEOX_5B
from piying.sampling.denoise import denoise
from piying.sampling.reuse import Foretold, asked
from piying.sampling.schedule import add_noise, levels, velocity
from piying.sampling.steps import ddim, dpm


class Line:
    """A model whose x0 is a line over timesteps, whatever it sees; it counts its questions."""

    def __init__(self, levels):
        self.alphas = {level.timestep: level.alpha for level in levels}
        dice = torch.Generator().manual_seed(0)
        self.start, self.slope = torch.randn(2, 2, 3, 4, generator=dice, dtype=torch.float64)
        self.asked = []

    def __call__(self, x, timestep):
        self.asked.append(timestep)
        x0, alpha = self.start + timestep / 1000 * self.slope, self.alphas[timestep]
        return velocity(x0, (x - alpha**0.5 * x0) / (1 - alpha) ** 0.5, alpha)


@pytest.mark.parametrize(("step", "noisy"), [(ddim, False), (dpm, True)])
@pytest.mark.parametrize("steps", [8, 20, 50])
def test_what_goes_along_a_line_is_foretold_exactly_and_what_stays_where_there_is_noise(step, noisy, steps):
    visited = levels(COGVIDEOX_5B.schedule, steps)
    line = Line(visited)
    line.slope *= not noisy
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def states(predict_v):
        dice = torch.Generator().manual_seed(2)
        noise = lambda: torch.randn(x.shape, generator=dice, dtype=x.dtype)  # noqa: E731
        return [state.x for state in denoise(lambda x, t: predict_v(x, t).mean(0), x, visited, step, noise)]

    exact = states(line)
    line.asked.clear()
    for ours, theirs in zip(states(Foretold(line, visited, noisy=noisy)), exact, strict=True):
        torch.testing.assert_close(ours, theirs)
    wanted = [level.timestep for level, ask in zip(visited, asked(steps), strict=True) if ask]
    assert line.asked == wanted


def test_of_fifty_steps_a_third_is_asked_and_of_few_nearly_all():
    assert [sum(asked(steps)) for steps in (1, 2, 3, 4)] == [1, 2, 3, 4]
    assert sum(asked(50)) <= 18
    assert sum(asked(20)) <= 14
    for steps in range(1, 101):
        asks = asked(steps)
        assert len(asks) == steps and all(asks[:2])


def test_a_stopped_one_goes_on_the_same():
    visited = levels(COGVIDEOX_5B.schedule, 20)

    def curved(x, timestep):
        return torch.stack([x.sin() * timestep / 999, x.cos()])

    def run(foretold, x, places):
        for level in places:
            v = foretold(x, level.timestep).mean(0)
            x = add_noise(x, v, level.next_alpha)
        return x

    x = torch.linspace(-1, 1, 5)
    whole = Foretold(curved, visited)
    expected = run(whole, x, visited)
    for stop in range(1, 20):
        first = Foretold(curved, visited)
        half = run(first, x, visited[:stop])
        second = Foretold(curved, visited, first.estimates, stop)
        assert torch.equal(run(second, half, visited[stop:]), expected)


def test_a_step_that_is_made_again_counts_once():
    visited = levels(COGVIDEOX_5B.schedule, 20)
    line = Line(visited)
    x = torch.ones(3, 4, dtype=torch.float64)
    foretold = Foretold(line, visited)
    for level in visited[:2]:
        foretold(x, level.timestep)
    kept = foretold.estimates
    foretold(x, visited[1].timestep)
    assert torch.equal(foretold.estimates, kept) and len(kept) == 2
