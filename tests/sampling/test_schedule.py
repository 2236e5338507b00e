import pytest
import torch
from diffusers import CogVideoXDDIMScheduler

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B, ScheduleConfig
from piying.sampling.schedule import add_noise, alphas, levels, remove_noise, velocity


def published(config: ScheduleConfig) -> CogVideoXDDIMScheduler:
    return CogVideoXDDIMScheduler(
        snr_shift_scale=config.snr_shift,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        prediction_type="v_prediction",
        clip_sample=False,
    )


@pytest.mark.parametrize("config", [COGVIDEOX_2B.schedule, COGVIDEOX_5B.schedule], ids=["shift 3", "shift 1"])
def test_alphas_are_those_of_diffusers(config):
    torch.testing.assert_close(alphas(config), published(config).alphas_cumprod, rtol=1e-12, atol=0)


def test_the_last_timestep_is_pure_noise():
    assert alphas(COGVIDEOX_2B.schedule)[-1] == 0


def test_every_count_of_steps_visits_the_timesteps_of_diffusers():
    scheduler = published(COGVIDEOX_5B.schedule)
    for steps in range(1, 1001):
        scheduler.set_timesteps(steps)
        ours = [level.timestep for level in levels(COGVIDEOX_5B.schedule, steps)]
        assert ours == scheduler.timesteps.tolist()[:steps], f"{steps} steps"
        assert len(ours) == steps and min(ours) >= 0, f"{steps} steps"


def test_levels_chain_and_end_clean_where_steps_divide_the_timesteps():
    chain = levels(COGVIDEOX_5B.schedule, 20)
    assert [level.next_alpha for level in chain[:-1]] == [level.alpha for level in chain[1:]]
    assert chain[-1].next_alpha == 1
    assert [level.step for level in chain] == list(range(20))


def test_velocity_and_noisy_sample_give_the_clean_sample_back():
    x0, eps = torch.randn(2, 3, 5, dtype=torch.float64).unbind(0)
    alpha = torch.tensor([[0.0], [0.3], [1.0]], dtype=torch.float64)
    x, v = add_noise(x0, eps, alpha), velocity(x0, eps, alpha)
    torch.testing.assert_close(remove_noise(x, v, alpha), x0)
    torch.testing.assert_close(x[0], eps[0])
    torch.testing.assert_close(x[2], x0[2])
