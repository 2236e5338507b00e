"""What the camera did: the movement that most of the picture shares, step by step.

From one look to the next, a shift and a zoom are fitted to the brightness of the whole picture (Lucas and Kanade 1981),
coarse to fine, with weights that fall where the fit fails, so that puppets and weather count little.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from piying.theatre.scene import Camera

LEVELS, ROUNDS = 3, 6  # of the pyramid, and of the fit on each level
DOUBT = 0.015  # error of brightness (0..1) at which a pixel counts half
PAN, TILT, ZOOM = 0.06, 0.05, 0.11  # least shift over the clip, canvas heights; least log zoom


def drift(pictures: Tensor, weights: Tensor) -> Tensor:
    """Movement of the scenery over a clip: right and down in canvas heights, log zoom. -> [3].

    pictures [T 3 H W] in 0..1; weights [T H W], 0 where a pixel is not scenery. The camera moves evenly, so all steps
    share one movement.
    """
    grey, steps = without_specks(pictures.mean(1, keepdim=True)), len(pictures) - 1
    moved = torch.zeros(3, device=grey.device)
    for level in reversed(range(LEVELS)):
        size = [side >> level for side in grey.shape[-2:]]
        small = F.avg_pool2d(F.pad(F.interpolate(grey, size, mode="area"), (1, 1, 1, 1), mode="replicate"), 3, 1)
        trust = F.interpolate(weights[:, None], size, mode="area")[:, 0]
        for _ in range(ROUNDS):
            moved = moved + correction(small[:-1], small[1:], trust[:-1] * trust[1:], moved)
    return moved * steps


def camera(moved: Tensor) -> Camera:
    """The name of a movement as `drift` gives it: the scenery goes against the camera."""
    x, y, zoom = moved.tolist()
    shares: dict[Camera, float] = {
        "pan_left": x / PAN,
        "pan_right": -x / PAN,
        "tilt_up": y / TILT,
        "zoom_in": zoom / ZOOM,
        "zoom_out": -zoom / ZOOM,
        "still": 1.0,
    }
    return max(shares, key=lambda name: shares[name])


def without_specks(x: Tensor) -> Tensor:
    """Without bright and dark spots of up to two pixels, which are weather: an opening and a closing. [N 1 H W]."""

    def grow(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 1, 1)

    opened = grow(-grow(-x))
    return -grow(-grow(opened))


def correction(before: Tensor, after: Tensor, trust: Tensor, moved: Tensor) -> Tensor:
    """One weighted Gauss-Newton step. before, after [N 1 H W]; trust [N H W]; moved [3] -> [3]."""
    height, width = before.shape[-2:]
    y = ((torch.arange(height, device=before.device) + 0.5) / height - 0.5)[:, None].expand(-1, width)
    x = ((torch.arange(width, device=before.device) + 0.5 - width / 2) / height).expand(height, -1)
    there = torch.stack([moved[2].exp() * x + moved[0], moved[2].exp() * y + moved[1]], -1)
    grid = 2 * there * there.new_tensor([height / width, 1.0])
    warped = F.grid_sample(after, grid.expand(len(after), -1, -1, -1), align_corners=False)[:, 0]
    inside = (grid.abs() < 1 - 2 / height).all(-1)
    slope_y, slope_x = torch.gradient(warped, spacing=1 / height, dim=(1, 2))
    error = before[:, 0] - warped
    weight = trust * inside / (1 + (error / DOUBT).square())
    columns = torch.stack([slope_x, slope_y, slope_x * x + slope_y * y], -1).flatten(0, 2)
    weighted = (columns * weight.flatten()[:, None]).T
    ridge = 1e-6 * len(columns) * torch.eye(3, device=before.device)
    return torch.linalg.solve(weighted @ columns + ridge, weighted @ error.flatten())
