import math

import pytest
import torch

from piying.config import ScheduleConfig
from piying.sampling.schedule import add_noise, alphas, velocity
from piying.train.loss import (
    by_band,
    draw_timesteps,
    fact_error,
    level_weights,
    psnr,
    pyramid_error,
    reconstruction_error,
    velocity_error,
)

LOG_SNRS = alphas(ScheduleConfig()).logit()


def test_drawn_levels_are_normal_in_log_snr():
    steps = draw_timesteps(LOG_SNRS, 20_000, 0.5, 1.0, 0.0, torch.Generator().manual_seed(0))
    drawn = LOG_SNRS[steps]
    assert drawn.mean() == pytest.approx(0.5, abs=0.03)
    assert drawn.std() == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("wanted", [-30.0, -9.0, -0.37, 2.2, 30.0])
def test_a_level_maps_to_the_nearest_timestep(wanted):
    step = draw_timesteps(LOG_SNRS, 1, wanted, 0.0, 0.0, torch.Generator())
    assert step.item() == (LOG_SNRS[:-1] - wanted).abs().argmin()


def test_a_share_of_the_timesteps_is_drawn_evenly_to_the_very_last():
    steps = draw_timesteps(LOG_SNRS, 40_000, 0.5, 0.0, 0.25, torch.Generator().manual_seed(0))
    nearest = (LOG_SNRS[:-1] - 0.5).abs().argmin()
    evenly = steps[steps != nearest]
    assert len(evenly) / len(steps) == pytest.approx(0.25, abs=0.01)
    assert (evenly == 999).any() and (evenly == 0).any()
    assert evenly.double().mean() == pytest.approx(499.5, abs=10)


def test_the_weight_turns_the_error_of_v_into_that_of_the_straight_velocity():
    x0, eps, guess = torch.randn(3, 1, 500, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for alpha in (0.02, 0.5, 0.9):
        t = math.sqrt(1 - alpha) / (
            math.sqrt(alpha) + math.sqrt(1 - alpha)
        )  # x = (1 - t) x0 + t eps, but for its scale
        x = add_noise(x0, eps, alpha)
        guess_eps = (x - alpha**0.5 * guess) / (1 - alpha) ** 0.5
        in_v = (velocity(guess, guess_eps, alpha) - velocity(x0, eps, alpha)).square().mean()
        straight = ((guess_eps - guess) - (eps - x0)).square().mean()
        log_snr = torch.tensor(alpha, dtype=torch.float64).logit()
        weight = level_weights(log_snr)
        assert weight.item() == pytest.approx(1 / (t**2 + (1 - t) ** 2))
        # dx0 and deps are tied by x, so both errors are multiples of dx0: their ratio is known.
        assert (straight / in_v).item() == pytest.approx((1 + (alpha / (1 - alpha)) ** 0.5) ** 2 * (1 - alpha))
        assert (straight / in_v).item() == pytest.approx(1 / (1 - 2 * t * (1 - t)))


def test_the_loss_weighs_each_sample_and_reports_plain_errors():
    v, log_snrs = torch.zeros(2, 3, 4), torch.tensor([0.0, 50.0])
    target = torch.stack([torch.full((3, 4), 1.0), torch.full((3, 4), 2.0)])
    loss, facts = velocity_error(v, target, log_snrs)
    assert loss.item() == pytest.approx((2 * 1 + 1 * 4) / 2)
    assert facts["v"].tolist() == [1.0, 4.0]
    assert facts["v+0+2"][0] == 1.0 and facts["v>+4"][1] == 4.0


def test_every_level_falls_into_one_band():
    levels = torch.cat([torch.linspace(-20, 20, 81), torch.tensor([-torch.inf])])
    bands = torch.stack(list(by_band(torch.ones_like(levels), levels).values()))
    assert ((~bands.isnan()).sum(0) == 1).all()


def test_reconstruction_terms_are_what_their_names_say():
    target = torch.zeros(1, 3, 3, 8, 8)
    pixels = torch.zeros_like(target)
    pixels[:, :, 1] = 0.5
    mean, logvar = torch.full((1, 2, 1, 1, 1), 2.0), torch.zeros(1, 2, 1, 1, 1)
    loss, facts = reconstruction_error(pixels, target, mean, logvar, pyramid=2.0, motion=3.0, kl=0.1)
    assert facts["absolute"].item() == pytest.approx(0.5 / 3)
    assert facts["motion"].item() == pytest.approx(0.5)
    assert facts["kl"].item() == pytest.approx(2.0)
    assert facts["pyramid"].item() == pytest.approx(0.5 / 3)  # flat frames: all in the lowest band
    assert loss.item() == pytest.approx(0.5 / 3 + 2 * 0.5 / 3 + 3 * 0.5 + 0.1 * 2)


def test_the_pyramid_counts_an_edge_in_every_band():
    edge = torch.zeros(1, 3, 1, 16, 16)
    edge[..., 5:] = 1.0
    assert pyramid_error(edge) > edge.mean()


def test_psnr_is_that_of_eight_bit_pictures():
    assert psnr(torch.full((10,), 2 / 255 * 5)).item() == pytest.approx(20 * math.log10(255 / 5), abs=1e-3)


@pytest.mark.parametrize("together", [lambda one: [torch.stack(one)], lambda one: [logits[None] for logits in one]])
def test_what_is_told_and_what_is_not_weigh_the_same(together):
    answers = [torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 9.0]]), torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0]])]
    facts = torch.tensor([[0, 0], [0, 1], [0, 1]])
    answers = together(answers)
    loss, numbers = fact_error(answers, facts)
    assert (numbers["told"].item(), numbers["untold"].item()) == (0.5, 0.75)
    right, wrong = math.log(1 + math.exp(-9.0)), math.log(1 + math.exp(9.0))
    expected = torch.tensor(((right + wrong) / 2 + (3 * right + wrong) / 4) / 2)
    torch.testing.assert_close(loss, expected)
