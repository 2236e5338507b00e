"""The steps against diffusers, and the loop on a Gaussian whose answer is known."""

import math

import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B
from piying.sampling.denoise import denoise
from piying.sampling.schedule import alphas, levels, remove_noise
from piying.sampling.steps import State, ddim, dpm

SCHEDULE = COGVIDEOX_5B.schedule
PUBLISHED = dict(
    rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction", clip_sample=False
)


def relative_error(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


def predict_v(x, timestep):
    return torch.sin(3 * x + timestep / 100)


@pytest.mark.parametrize("steps", [1, 7, 20, 30])
@pytest.mark.parametrize("index", [0, 1, -2, -1])
def test_a_ddim_step_is_that_of_diffusers(steps, index):
    scheduler = CogVideoXDDIMScheduler(snr_shift_scale=1.0, **PUBLISHED)
    scheduler.set_timesteps(steps)
    level = levels(SCHEDULE, steps)[index % steps]
    x, v = torch.randn(2, 2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(1)).unbind(0)
    theirs = scheduler.step(v, level.timestep, x, return_dict=False)[0]
    assert relative_error(ddim(x, remove_noise(x, v, level.alpha), level, None, None), theirs) < 1e-5


@pytest.mark.parametrize("steps", [1, 7, 20, 30])
@pytest.mark.parametrize("index", [0, 1, 2, -2, -1])
def test_a_dpm_step_is_that_of_diffusers_and_draws_the_same_noise(steps, index):
    scheduler = CogVideoXDPMScheduler(
        snr_shift_scale=1.0, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, **PUBLISHED
    )
    scheduler.set_timesteps(steps)
    chain = levels(SCHEDULE, steps)
    index %= steps
    level, last = chain[index], chain[index - 1] if index else None
    x, v, x0_before = torch.randn(3, 2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(1)).unbind(0)
    theirs_generator, ours_generator = torch.Generator().manual_seed(2), torch.Generator().manual_seed(2)
    theirs = scheduler.step(
        v,
        x0_before if last else None,
        level.timestep,
        last.timestep if last else None,
        x,
        generator=theirs_generator,
    )[0]
    ours = dpm(
        x,
        remove_noise(x, v, level.alpha),
        level,
        State(last, x, x0_before) if last else None,
        lambda: torch.randn(x.shape, generator=ours_generator),
    )
    assert relative_error(ours, theirs) < 1e-5
    assert torch.equal(ours_generator.get_state(), theirs_generator.get_state())


@pytest.mark.parametrize("steps", [7, 20])
@pytest.mark.parametrize("step", [ddim, dpm])
def test_the_whole_loop_is_that_of_diffusers(step, steps):
    shift = COGVIDEOX_2B.schedule.snr_shift
    if step is ddim:
        scheduler = CogVideoXDDIMScheduler(snr_shift_scale=shift, **PUBLISHED)
    else:
        scheduler = CogVideoXDPMScheduler(
            snr_shift_scale=shift, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, **PUBLISHED
        )
    scheduler.set_timesteps(steps)
    start = torch.randn(1, 3, 4, 6, 6, generator=torch.Generator().manual_seed(1))

    x, x0, theirs_generator = start, None, torch.Generator().manual_seed(2)
    timesteps = scheduler.timesteps.tolist()
    for index, timestep in enumerate(timesteps):
        v = predict_v(x, timestep)
        if step is ddim:
            x = scheduler.step(v, timestep, x, return_dict=False)[0]
        else:
            back = timesteps[index - 1] if index else None
            x, x0 = scheduler.step(v, x0, timestep, back, x, generator=theirs_generator)

    ours_generator = torch.Generator().manual_seed(2)
    *_, last = denoise(
        predict_v,
        start,
        levels(COGVIDEOX_2B.schedule, steps),
        step,
        lambda: torch.randn(start.shape, generator=ours_generator),
    )
    assert relative_error(last.x, x) < 1e-5


MEAN, DEVIATION = 1.5, 0.25


def predict_gaussian_v(x, timestep):
    """The v of the best possible model where every x0 ~ N(MEAN, DEVIATION^2)."""
    alpha = float(alphas(SCHEDULE)[timestep])
    variance = alpha * DEVIATION**2 + 1 - alpha
    x0 = MEAN + math.sqrt(alpha) * DEVIATION**2 / variance * (x - math.sqrt(alpha) * MEAN)
    eps = math.sqrt(1 - alpha) / variance * (x - math.sqrt(alpha) * MEAN)
    return math.sqrt(alpha) * eps - math.sqrt(1 - alpha) * x0


def mean_and_deviation_of_the_sample(step, steps):
    """Mean and deviation after `steps` from 10,000 points of pure noise."""
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(10_000, generator=generator, dtype=torch.float64)
    start = (start - start.mean()) / start.std()
    *_, last = denoise(
        predict_gaussian_v,
        start,
        levels(SCHEDULE, steps),
        step,
        lambda: torch.randn(start.shape, generator=generator, dtype=torch.float64),
    )
    return float(last.x.mean()), float(last.x.std())


@pytest.mark.parametrize("step", [ddim, dpm])
def test_a_gaussian_is_sampled_with_its_mean_and_deviation(step):
    mean, deviation = mean_and_deviation_of_the_sample(step, 1000)
    assert mean == pytest.approx(MEAN, abs=0.01)
    assert deviation == pytest.approx(DEVIATION, rel=0.02)


@pytest.mark.parametrize("step", [ddim, dpm])
def test_the_error_on_a_gaussian_shrinks_with_the_steps(step):
    errors = [abs(mean_and_deviation_of_the_sample(step, steps)[1] / DEVIATION - 1) for steps in (10, 20, 40, 100)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 4


def test_a_state_is_taken_up_again_with_the_same_result():
    chain = levels(SCHEDULE, 10)
    start = torch.randn(50, generator=torch.Generator().manual_seed(1))

    def noise(generator):
        return lambda: torch.randn(start.shape, generator=generator)

    generator = torch.Generator().manual_seed(2)
    whole = list(denoise(predict_v, start, chain, dpm, noise(generator)))
    generator.manual_seed(2)
    first = denoise(predict_v, start, chain, dpm, noise(generator))
    stopped = [next(first) for _ in range(4)][-1]
    rest = list(denoise(predict_v, stopped.x, chain[stopped.level.step + 1 :], dpm, noise(generator), before=stopped))
    assert len(rest) == 6
    assert torch.equal(rest[-1].x, whole[-1].x)
