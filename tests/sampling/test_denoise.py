import torch

from piying.config import COGVIDEOX_5B
from piying.sampling.denoise import denoise
from piying.sampling.schedule import add_noise, levels

LEVELS = levels(COGVIDEOX_5B.schedule, 5)


def test_what_is_held_is_put_back_after_each_step_and_clean_at_the_end():
    eps, known = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1)).unbind(0)
    asked = []

    def hold(x, alpha):
        asked.append(alpha)
        return torch.cat([add_noise(known, eps, alpha)[:2], x[2:]])

    def predict_v(x, timestep):
        return 0.5 * x

    held = list(denoise(predict_v, eps, LEVELS, hold=hold))
    free = list(denoise(predict_v, eps, LEVELS))
    assert asked == [level.next_alpha for level in LEVELS]
    for state, without in zip(held, free, strict=True):
        torch.testing.assert_close(state.x[:2], add_noise(known, eps, state.level.next_alpha)[:2])
        torch.testing.assert_close(state.x[2:], without.x[2:])
    torch.testing.assert_close(held[-1].x[:2], known[:2])
