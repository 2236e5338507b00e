import math

import pytest
import torch

from piying.evaluate.stencils import SHARE, Pose, draw, find, stencils
from piying.theatre.scene import COLOURS, Actor

SIZE = (48, 72)
NOISE = 0.05 * torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def picture(colour, pose, x, y):
    """A cat with its centre on a pixel, before a slope of green and grey, [1 3 48 72]."""
    cat = draw(Actor(subject="cat", colour=colour), "paper", [pose], (2 * SIZE[0], 2 * SIZE[1]), "cpu")[0]
    cat = cat[:, SIZE[0] - y : 2 * SIZE[0] - y, SIZE[1] - x : 2 * SIZE[1] - x]
    slope = torch.linspace(0.2, 0.8, SIZE[1]).expand(3, SIZE[0], -1) * torch.tensor([0.5, 1, 0.6])[:, None, None]
    return cat[None, :3] + slope * (1 - cat[3:]) + NOISE


@pytest.mark.parametrize(("x", "y"), [(30, 20), (9, 36)])
def test_a_puppet_is_found_where_it_is_in_its_colour_and_pose(x, y):
    poses = [Pose(26, 1), Pose(26, -1), Pose(18, 1), Pose(26, 1, math.pi / 2)]
    found = find(picture("purple", poses[1], x, y), stencils("cat", COLOURS, "paper", poses, SIZE, "cpu"))
    pose, colour = divmod(int(found.score[0].argmax()), len(COLOURS))
    assert (pose, COLOURS[colour]) == (1, "purple")
    assert (int(found.x[0, pose, colour]), int(found.y[0, pose, colour])) == (x, y)


def test_a_place_that_is_not_allowed_is_not_found():
    poses = [Pose(26, 1)]
    allowed = torch.zeros(1, *SIZE)
    allowed[:, :, 50:] = 1
    found = find(picture("red", poses[0], 30, 20), stencils("cat", ["red"], "paper", poses, SIZE, "cpu"), allowed)
    assert int(found.x) >= 50


def test_a_puppet_that_is_mostly_outside_is_not_found():
    stencil = stencils("cat", ["red"], "paper", [Pose(26, 1)], SIZE, "cpu")
    found = find(picture("red", Pose(26, 1), 30, 0), stencil)
    assert stencil.share[0, 0, 30] < SHARE <= stencil.share[0, int(found.y), int(found.x)]


def test_dim_light_is_allowed_and_darkness_that_no_light_makes_is_not():
    stencil = stencils("cat", ["white"], "paper", [Pose(26, 1)], SIZE, "cpu")
    whole = picture("white", Pose(26, 1), 30, 20)
    dim, dark = (float(find(x, stencil).score) for x in (0.7 * whole, whole - 0.3))
    assert dim > 1.2 * dark
