from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from piying.theatre.figures import FIGURES
from piying.theatre.figures.looks import COLOURS as PALETTE
from piying.theatre.puppets import extent, layers
from piying.theatre.scene import COLOURS, STYLES, SUBJECTS, TROUPE, UNSEEN_STYLES, Actor

EVERYONE = (*SUBJECTS, *TROUPE)
CHILDREN = TROUPE[:7]


def draw(actor: Actor, phase: Tensor, style: str = "paper", height: int = 40, resolution: int = 64) -> Tensor:
    """A puppet on nothing, premultiplied RGBA [F 4 H W]: `height` pixels a puppet unit, 1.2 units tall, 2 wide."""
    textures, transforms = layers(actor, style, resolution, phase)
    rows = (torch.arange(int(1.2 * height)) + 0.5) / height - 0.6
    columns = (torch.arange(2 * height) + 0.5) / height - 1
    points = torch.stack((*torch.meshgrid(columns, rows, indexing="xy"), torch.ones(len(rows), len(columns))), -1)
    canvas = torch.zeros(len(phase), 4, len(rows), len(columns))
    for texture, transform in zip(textures, transforms.unbind(1), strict=True):
        grid = torch.einsum("fij,hwj->fhwi", transform, points)
        seen = F.grid_sample(texture.expand(len(phase), -1, -1, -1), grid, align_corners=False)
        canvas = canvas * (1 - seen[:, 3:]) + seen
    return canvas


def still(subject: str, colour: str = "red", style: str = "paper", **size: int) -> Tensor:
    return draw(Actor(subject=subject, colour=colour), torch.tensor([0.1]), style, **size)[0]


def test_every_subject_and_every_member_of_the_troupe_has_a_figure():
    assert set(FIGURES) == set(EVERYONE)


def test_textures_are_premultiplied_and_there_is_a_transform_for_each_part():
    textures, transforms = layers(Actor(subject="horse", colour="blue"), "paper", 48, torch.linspace(0, 2, 5))
    assert textures.shape[1:] == (4, 48, 48) and transforms.shape == (5, len(textures), 2, 3)
    assert textures.min() >= 0 and textures.max() == 1
    assert (textures[:, :3] <= textures[:, 3:]).all()


def test_what_a_caller_does_to_textures_stays_with_the_caller():
    first, _ = layers(Actor(subject="kite", colour="red"), "paper", 32, torch.zeros(1))
    kept = first.clone()
    first.zero_()
    again, _ = layers(Actor(subject="kite", colour="red"), "paper", 32, torch.zeros(1))
    assert torch.equal(again, kept)


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("style", ["paper", "cartoon"])
def test_the_largest_area_of_a_puppet_is_exactly_in_its_colour(colour: str, style: str):
    for subject in SUBJECTS:
        picture = (still(subject, colour, style, height=80, resolution=120) * 255).round()
        opaque = picture[:3, picture[3] == 255]
        colours, counts = opaque.unique(dim=1, return_counts=True)
        assert colours[:, counts.argmax()].tolist() == list(PALETTE[colour]), subject
        assert counts.max() > 0.3 * opaque.shape[1], subject


def test_the_colours_are_well_apart():
    for one, other in combinations(PALETTE.values(), 2):
        assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) > 80**2


def test_no_two_subjects_share_a_silhouette():
    shapes = {subject: still(subject)[3] for subject in SUBJECTS}
    for one, other in combinations(SUBJECTS, 2):
        common = torch.minimum(shapes[one], shapes[other]).sum() / torch.maximum(shapes[one], shapes[other]).sum()
        assert common < 0.75, (one, other)


@pytest.mark.parametrize("subject", EVERYONE)
def test_a_puppet_fills_its_extent_and_never_leaves_it(subject: str):
    half_width, half_height = extent(subject)
    assert half_width <= 0.8001 and half_height <= 0.5001
    alpha = draw(Actor(subject=subject, colour="green"), torch.arange(12) / 12, "cartoon")[:, 3].amax(0)
    rows, columns = torch.nonzero(alpha.amax(1) > 0.5), torch.nonzero(alpha.amax(0) > 0.5)
    reached = [
        0.5 - rows.min() / 40 + 0.1,
        rows.max() / 40 + 0.025 - 0.6,
        1 - columns.min() / 40,
        columns.max() / 40 - 0.975,
    ]
    for edge, half in zip(reached, (half_height, half_height, half_width, half_width), strict=True):
        assert half - 0.08 < edge < half + 0.03


@pytest.mark.parametrize("subject", EVERYONE)
def test_a_puppet_moves_with_its_phase_and_returns_after_a_cycle(subject: str):
    start, middle, end = draw(Actor(subject=subject, colour="green"), torch.tensor([0.1, 0.65, 1.1]))
    assert (start - middle).abs().mean() > 1e-3
    assert torch.allclose(start, end, atol=1e-3)


def test_a_wheel_rolls_to_the_right():
    """A quarter of a turn takes what was above the hub to its right, so the way back takes right to above."""
    _, transforms = layers(Actor(subject="car", colour="red"), "paper", 32, torch.tensor([0.0, 0.25]))
    rest, turned = transforms[:, -1, :, :2]
    right, down = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert torch.allclose(turned @ right, -rest @ down, atol=1e-4)


def test_puppets_face_right():
    beak = still("bird")[:3] - torch.tensor([236, 184, 66]).view(3, 1, 1) / 255
    columns = torch.nonzero(beak.abs().amax(0) < 0.05)[:, 1]
    assert columns.min() > 40 + 10


def test_black_and_white_has_no_hue_and_shadow_play_tells_no_colour():
    picture = still("fish", style="black_and_white")
    assert (picture[:3] - picture[:1]).abs().max() < 0.005
    assert torch.equal(still("fish", "red", "shadow"), still("fish", "yellow", "shadow"))
    assert not torch.equal(still("fish", "red", "ink"), still("fish", "yellow", "ink"))


def test_each_style_looks_different():
    pictures = [still("boat", style=style) for style in (*STYLES, *UNSEEN_STYLES)]
    for one, other in combinations(pictures, 2):
        assert (one - other).abs().mean() > 5e-3


def test_the_lantern_children_differ_on_the_head_and_on_the_robe_and_nowhere_else():
    pictures = [still(child) for child in CHILDREN]
    lantern, robe, feet = slice(0, 18), slice(20, 36), slice(38, 48)
    for one, other in combinations(pictures, 2):
        assert (one[:, lantern] - other[:, lantern]).abs().sum() > 20
        assert (one[:, robe] - other[:, robe]).abs().sum() > 20
        assert (one[:, feet] - other[:, feet]).abs().sum() < 20
