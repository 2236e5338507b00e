import pytest
import torch
import torch.nn.functional as F

from piying.evaluate.flow import camera, drift

STEPS = torch.linspace(-0.5, 0.5, 9)


def film(right=0.0, down=0.0, zoom=0.0):
    """A random scenery that moves over the clip by so many canvas heights and so much log zoom, [9 3 48 72]."""
    scenery = F.interpolate(
        torch.rand(1, 3, 24, 36, generator=torch.Generator().manual_seed(0)), (144, 216), mode="bicubic"
    )
    pictures = []
    for s in STEPS.tolist():
        y, x = torch.meshgrid(torch.linspace(-0.5, 0.5, 48), torch.linspace(-0.75, 0.75, 72), indexing="ij")
        grow = torch.tensor(-zoom * s).exp()
        place = torch.stack([(x * grow - right * s) / 2.25, (y * grow - down * s) / 1.5], -1)
        pictures.append(F.grid_sample(scenery, 2 * place[None], align_corners=False)[0])
    return torch.stack(pictures)


@pytest.mark.parametrize(
    ("movement", "name"),
    [
        ((0.3, 0.0, 0.0), "pan_left"),
        ((-0.3, 0.0, 0.0), "pan_right"),
        ((0.0, 0.2, 0.0), "tilt_up"),
        ((0.0, 0.0, 0.3), "zoom_in"),
        ((0.0, 0.0, -0.3), "zoom_out"),
        ((0.0, 0.0, 0.0), "still"),
    ],
)
def test_the_movement_of_the_scenery_names_the_camera(movement, name):
    pictures = film(*movement)
    found = drift(pictures, torch.ones_like(pictures[:, 0]))
    assert found.tolist() == pytest.approx(movement, abs=0.02)
    assert camera(found) == name


def test_what_is_no_scenery_does_not_count():
    still, moving = film(), film(0.3)
    weights = torch.ones_like(still[:, 0])
    weights[:, :, 20:] = 0
    mixed = torch.where(weights[:, None] > 0, still, moving)
    assert camera(drift(mixed, weights)) == "still"
    assert camera(drift(mixed, torch.ones_like(weights))) == "pan_left"
