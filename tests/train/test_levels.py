import pytest
import torch

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B
from piying.sampling.schedule import alphas
from piying.train.levels import STRATA, held_out_timesteps, stratified, timesteps_at


def log_snrs(member):
    return alphas(member.schedule).logit()


def test_each_stratum_comes_once_in_a_window_however_steps_cut_it():
    whole = stratified(3, 0, 4 * STRATA)
    for start in range(0, 4 * STRATA, STRATA):
        assert sorted(int(STRATA * place) for place in whole[start : start + STRATA]) == list(range(STRATA))
    assert [place for first in range(0, 4 * STRATA, 4) for place in stratified(3, first, 4)] == whole
    assert whole[:STRATA] != whole[STRATA : 2 * STRATA] and stratified(4, 0, STRATA) != whole[:STRATA]


def test_places_are_timesteps_evenly_where_nothing_else_is_said():
    timesteps = timesteps_at([0.0, 0.5, 0.9999], log_snrs(COGVIDEOX_5B), None)
    assert timesteps.tolist() == [0, 500, 999]
    drawn = timesteps_at(stratified(0, 0, 3200), log_snrs(COGVIDEOX_5B), None).float()
    assert drawn.mean() == pytest.approx(499.5, abs=3)


def test_a_normal_shape_gives_log_snr_its_mean_and_deviation():
    levels = log_snrs(COGVIDEOX_2B)
    drawn = levels[timesteps_at(stratified(0, 0, 3200), levels, (-1.0, 1.5))]
    assert drawn.mean().item() == pytest.approx(-1.0, abs=0.05)
    assert drawn.std().item() == pytest.approx(1.5, abs=0.1)


def test_held_out_levels_are_the_nearest_timesteps_and_the_last():
    levels = log_snrs(COGVIDEOX_5B)
    found = held_out_timesteps(levels)
    assert found["v at the end"] == 999
    assert levels[found["v at -2"]].item() == pytest.approx(-2, abs=0.02)
    assert torch.tensor(list(found.values())[:5]).diff().max() < 0  # less noise, earlier timestep
