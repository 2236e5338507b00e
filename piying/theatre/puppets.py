"""The puppets: textures of their parts, drawn once, and where each part stands at each moment."""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from piying.theatre.figures import FIGURES
from piying.theatre.figures.looks import OUTLINE, carve, palette
from piying.theatre.figures.paper import Figure, Motion
from piying.theatre.figures.raster import OVERSAMPLE, coverage, labels, reach
from piying.theatre.scene import Actor, Colour, Style, Subject, Troupe, UnseenStyle

Puppet = Subject | Troupe
AnyStyle = Style | UnseenStyle

FRAME = (0.8, 0.5)  # half the width and height that a puppet may take, in puppet units
LINE = max(OUTLINE.values()) / 100  # the widest outline


def layers(
    actor: Actor, style: AnyStyle, resolution: int, phase: Tensor, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """The parts of a puppet in painter's order, and where they stand.

    `phase` [F] counts gait cycles. Returns textures [P 4 S S], premultiplied RGBA in 0..1 with S = `resolution`, and
    transforms [F P 2 3] from puppet units (origin at the centre, x right, y down, height 1, facing right) to texture
    coordinates (-1..1 across the texture, as grid_sample has them with align_corners=False).
    """
    textures = _textures(actor.subject, actor.colour, style, resolution, str(device))
    figure = FIGURES[actor.subject]
    poses = _fit(actor.subject).to(phase.device) @ _poses(figure, phase)
    transforms = torch.linalg.inv_ex(poses)[0][..., :2, :] * (100 / reach(figure))
    return textures.float() / 255, transforms.to(device)


def extent(subject: Puppet) -> tuple[float, float]:
    """(half width, half height) of the box about the origin that the puppet never leaves, in puppet units."""
    lowest, highest = _bounds(subject)
    half_width, half_height = ((highest - lowest) / 2 * _fit(subject)[0, 0]).tolist()
    return half_width, half_height


@lru_cache
def _fit(subject: Puppet) -> Tensor:
    """The map [3 3] from a figure as drawn to puppet units: centred, and as large as its frame allows."""
    lowest, highest = _bounds(subject)
    scale = (torch.tensor(FRAME) / ((highest - lowest) / 2)).min()
    fit = torch.eye(3)
    fit[:2] = scale * torch.cat((torch.eye(2), -(lowest + highest)[:, None] / 2), 1)
    return fit


@lru_cache
def _bounds(subject: Puppet) -> tuple[Tensor, Tensor]:
    """The lowest and the highest x and y [2] that a figure as drawn reaches in a cycle, outline included."""
    figure = FIGURES[subject]
    reached = []
    for part, pose in zip(figure.parts, _poses(figure, torch.arange(24) / 24).unbind(1), strict=True):
        points = torch.from_numpy(np.concatenate([shape.points for shape in part.shapes])).float() / 100
        reached.append((points @ pose[:, :2, :2].mT + pose[:, None, :2, 2]).flatten(0, 1))
    points = torch.cat(reached)
    return points.amin(0) - LINE, points.amax(0) + LINE


@lru_cache(maxsize=512)
def _textures(subject: Puppet, colour: Colour, style: AnyStyle, resolution: int, device: str) -> Tensor:
    """The premultiplied RGBA of each part, uint8 [P 4 S S]: about 0.5 MB at nano's size."""
    present, counts = _coverage(subject, style, resolution)
    paints = 255 / OVERSAMPLE**2 * palette(colour, style)[present]
    return torch.from_numpy(np.einsum("pkyx,kc->pcyx", counts, paints).round().astype(np.uint8)).to(device)


@lru_cache(maxsize=256)  # nano's whole world
def _coverage(subject: Puppet, style: AnyStyle, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """What puppets of all colours have in common: see `raster.coverage`."""
    figure = FIGURES[subject]
    fine = labels(figure, resolution, OUTLINE[style])
    return coverage(carve(fine, style, fine.shape[-1] / (2 * reach(figure))))


def _poses(figure: Figure, phase: Tensor) -> Tensor:
    """Affine maps [F P 3 3] from rest to where each part stands, in puppet units."""
    carry = _move([figure.carry], phase)
    return carry @ _move([part.motion for part in figure.parts], phase)


def _move(motions: list[Motion], phase: Tensor) -> Tensor:
    """Affine maps [F P 3 3] of motions about their pivots."""

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=phase.device)

    phase = phase.float()[:, None]
    beats, lag = column([m.beats for m in motions]), column([m.lag for m in motions])
    wave = torch.sin(2 * math.pi * (beats * phase + lag))
    angle = column([math.radians(m.tilt) for m in motions]) + column([math.radians(m.turn) for m in motions]) * wave
    angle = angle + 2 * math.pi * column([m.spin for m in motions]) * phase
    width = 1 - column([m.shrink[0] for m in motions]) * (1 - wave) / 2
    height = 1 - column([m.shrink[1] for m in motions]) * (1 - wave) / 2
    cos, sin = angle.cos(), angle.sin()
    x, y = (column([m.pivot[axis] / 100 for m in motions]) for axis in (0, 1))
    dx, dy = (column([m.shift[axis] / 100 for m in motions]) * wave for axis in (0, 1))
    xx, xy, yx, yy = cos * width, -sin * height, sin * width, cos * height
    zero, one = torch.zeros_like(wave), torch.ones_like(wave)
    rows = (xx, xy, x + dx - xx * x - xy * y, yx, yy, y + dy - yx * x - yy * y, zero, zero, one)
    return torch.stack(rows, -1).unflatten(-1, (3, 3))
