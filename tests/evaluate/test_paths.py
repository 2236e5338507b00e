import math

import pytest
import torch

from piying.evaluate.paths import motion

S = torch.linspace(0, 1, 17, dtype=torch.float64)
REST = torch.full_like(S, 0.5)
HOP = 4 * (2 * S % 1) * (1 - 2 * S % 1)
CURVES = {
    "left": (0.9 - 0.4 * S, REST, 0 * S),
    "right": (0.3 + 0.4 * S, REST, 0 * S),
    "rise": (REST, 0.8 - 0.3 * S, 0 * S),
    "sink": (REST, 0.2 + 0.3 * S, 0 * S),
    "jump": (REST, 0.7 - 0.2 * HOP, 0 * S),
    "spin": (REST, REST, -2 * math.pi * S),
    "circle": (0.6 + 0.15 * torch.cos(2 * math.pi * S + 1), 0.5 + 0.15 * torch.sin(2 * math.pi * S + 1), 0 * S),
    "sway": (0.5 + 0.05 * torch.sin(4 * math.pi * S), REST, 0.27 * torch.sin(4 * math.pi * S)),
    "still": (REST, REST, 0 * S),
}


@pytest.mark.parametrize("name", CURVES)
def test_a_noisy_path_has_its_name(name):
    noise = torch.randn(3, 17, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x, y, angle = (curve + scale * n for curve, scale, n in zip(CURVES[name], (0.008, 0.008, 0.04), noise, strict=True))
    assert motion(x, y, angle, torch.ones_like(S)) == name


def test_moments_in_which_the_puppet_was_lost_count_little():
    x, y, angle = (curve.clone() for curve in CURVES["rise"])
    belief = torch.ones_like(S)
    x[[3, 9]], y[[3, 9]], belief[[3, 9]] = 1.4, 0.1, 0.05
    assert motion(x, y, angle, belief) == "rise"


def test_who_dips_does_not_jump():
    x, y, angle = CURVES["jump"]
    assert motion(x, 1 - y, angle, torch.ones_like(S)) != "jump"
