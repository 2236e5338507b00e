import math

import pytest
import torch

from piying.config import COGVIDEOX_5B
from piying.sampling.guidance import CURVES, constant, guide, published, smooth
from piying.sampling.schedule import levels


def test_strength_one_is_the_prediction_with_the_prompt():
    unguided, guided = torch.randn(2, 4)
    torch.testing.assert_close(guide(unguided, guided, 1.0), guided)
    torch.testing.assert_close(guide(unguided, guided, 3.0), guided + 2 * (guided - unguided))


def test_the_smooth_curve_rises_from_one_to_nearly_the_full_strength():
    strengths = [smooth(6.0, level.timestep, 50) for level in levels(COGVIDEOX_5B.schedule, 50)]
    assert strengths[0] == pytest.approx(1)
    assert strengths == sorted(strengths)
    assert 6.5 < strengths[-1] < 7


def test_the_published_curve_is_the_wave_of_the_published_models():
    assert published(6.0, 999, 50) == pytest.approx(1 + 6 * (1 - math.cos(math.pi * ((50 - 999) / 50) ** 5)) / 2)
    strengths = [published(6.0, level.timestep, 50) for level in levels(COGVIDEOX_5B.schedule, 50)]
    turns = sum((b > a) != (c > b) for a, b, c in zip(strengths, strengths[1:], strengths[2:], strict=False))
    assert all(1 <= strength <= 7 for strength in strengths) and turns > 10


def test_a_constant_strength_is_what_was_asked_for():
    assert constant(4.5, 500, 20) == 4.5
    assert set(CURVES) == {"constant", "published", "smooth"}
