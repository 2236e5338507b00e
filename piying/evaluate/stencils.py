"""Where a puppet is in a picture: the theatre's own figures, laid over every place, in the least squares sense.

A stencil is a puppet as the stage would draw it. What speaks for it at a place is how much better two things, the
puppet and a flat surround, explain the pixels there than one flat colour would: a log likelihood ratio under Gaussian
errors, weighted by the root of the number of pixels, so that a part of a puppet does not beat the whole and a large
puppet does not win by its size. Brightness and contrast are free within limits, since fog and night change them.

Shapes: N pictures, K poses, C colours, H W pixels. Correlations at all places go through the Fourier transform.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from piying.theatre import puppets
from piying.theatre.scene import Actor, Colour, Style, Subject

NOISE = 0.08  # expected error of a pixel, 0..1: grain, weather and gait together
CONTRAST = (0.5, 1.0)  # of what is seen to what is drawn
RING = 2  # width of the surround, pixels
SHARE = 0.6  # of a puppet must be in the picture


@dataclass(frozen=True)
class Pose:
    """How a puppet stands."""

    scale: float  # pixels a puppet unit
    facing: int  # 1 right, -1 left
    angle: float = 0.0  # clockwise, radians
    phase: float = 0.0  # gait cycles


class Stencils(NamedTuple):
    """Spectra of puppets that stand at the upper left corner, wrapped around the edges of a padded picture."""

    paint: Tensor  # [K C 3 h w'] premultiplied colour
    cover: Tensor  # [K 2 h w'] the puppet's alpha, and its surround
    moments: Tensor  # [K C 2 H W] sum of colour, and of its square, over the part of the puppet inside the picture
    area: Tensor  # [K 2 H W] of puppet and surround inside the picture, pixels
    share: Tensor  # [K H W] of the puppet inside the picture


class Find(NamedTuple):
    """The best place of each pose and colour in each picture, [N K C]."""

    score: Tensor  # log likelihood ratio
    x: Tensor  # pixels
    y: Tensor


def stencils(
    subject: Subject,
    colours: Sequence[Colour],
    style: Style,
    poses: Sequence[Pose],
    size: tuple[int, int],
    device: str,
) -> Stencils:
    """A subject in every colour and pose, for pictures of `size` (height, width)."""
    height, width = padded(size)
    drawn = torch.stack(
        [draw(Actor(subject=subject, colour=colour), style, poses, (height, width), device) for colour in colours], 1
    )
    alpha = drawn[:, 0, 3:]
    ring = F.max_pool2d(alpha, 2 * RING + 1, 1, RING) - alpha
    cover = torch.cat([alpha, ring], 1)
    paint = drawn[:, :, :3]
    squares = paint.square() / drawn[:, :, 3:].clamp(min=1e-3)
    inside = torch.fft.rfft2(torch.ones(size, device=device), s=(height, width))
    sums = [paint.sum(2), squares.sum(2), cover]
    moments, powers, area = (correlate(inside, spectrum(x), (height, width), size) for x in sums)
    whole = cover[:, 0].sum((1, 2))[:, None, None]
    return Stencils(spectrum(paint), spectrum(cover), torch.stack([moments, powers], 2), area, area[:, 0] / whole)


def spectrum(x: Tensor) -> Tensor:
    return torch.fft.rfft2(torch.fft.ifftshift(x, dim=(-2, -1)))


def correlate(picture: Tensor, stencil: Tensor, padding: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Sums of products at all places [... H W], from spectra."""
    return torch.fft.irfft2(picture * stencil.conj(), s=padding)[..., : size[0], : size[1]]


def padded(size: tuple[int, int]) -> tuple[int, int]:
    """Room for half a puppet beyond every edge."""
    height, width = (16 * math.ceil(side / 12) for side in size)
    return height, width


def draw(actor: Actor, style: Style, poses: Sequence[Pose], size: tuple[int, int], device: str) -> Tensor:
    """The puppet with its centre on pixel (H/2, W/2) of a canvas, in each pose: premultiplied RGBA [K 4 H W]."""
    height, width = size
    largest = max(pose.scale for pose in poses)
    resolution = 32 * math.ceil(largest * 2.5 * max(puppets.extent(actor.subject)) / 32)
    textures, to_texture = puppets.layers(
        actor, style, resolution, torch.tensor([pose.phase for pose in poses]), device
    )
    turns = [
        [
            [pose.facing * math.cos(pose.angle), pose.facing * math.sin(pose.angle)],
            [-math.sin(pose.angle), math.cos(pose.angle)],
        ]
        for pose in poses
    ]
    to_puppet = (
        torch.tensor(turns, device=device) / torch.tensor([pose.scale for pose in poses], device=device)[:, None, None]
    )
    x = torch.arange(width, device=device) - width // 2
    y = torch.arange(height, device=device) - height // 2
    places = torch.stack(torch.broadcast_tensors(x, y[:, None]), -1).float().view(-1, 2)
    canvas = torch.zeros(len(poses), 4, height, width, device=device)
    for part, texture in enumerate(textures):
        linear = to_texture[:, part, :, :2].to(device) @ to_puppet
        grid = (places @ linear.transpose(1, 2) + to_texture[:, part, None, :, 2].to(device)).view(-1, height, width, 2)
        seen = F.grid_sample(texture.expand(len(poses), -1, -1, -1), grid, align_corners=False)
        canvas = canvas * (1 - seen[:, 3:]) + seen
    return canvas


def find(pictures: Tensor, stencil: Stencils, allowed: Tensor | None = None) -> Find:
    """Lay stencils over pictures [N 3 H W] in 0..1; `allowed` [N H W] says which places count."""
    size = pictures.shape[-2], pictures.shape[-1]
    padding = padded(size)
    seen = torch.cat([pictures, pictures.square().sum(1, keepdim=True)], 1)
    spectra = torch.fft.rfft2(seen, s=padding)
    covered = correlate(spectra[:, None, None], stencil.cover[None, :, :, None], padding, size)  # [N K 2 4 H W]
    first, second, area = covered[:, :, :, :3], covered[:, :, :, 3], stencil.area.clamp(min=1e-3)
    spread = second[:, :, 1] - first[:, :, 1].square().sum(2) / area[:, 1]  # of the surround about its mean
    flat = second.sum(2) - first.sum(2).square().sum(2) / area.sum(1)  # of puppet and surround about their mean
    weight = 3 * area[:, 0]
    mean, power = first[:, :, 0].sum(2) / weight, second[:, :, 0] / weight
    product = (spectra[:, None, None, :3] * stencil.paint.conj()).sum(3)
    product = torch.fft.irfft2(product, s=padding)[..., : size[0], : size[1]] / weight[:, None]  # [N K C H W]
    drawn_mean = stencil.moments[:, :, 0] / weight[:, None]
    drawn_variance = stencil.moments[:, :, 1] / weight[:, None] - drawn_mean.square()
    covariance = product - mean[:, :, None] * drawn_mean
    contrast = (covariance / drawn_variance.clamp(min=1e-4)).clamp(*CONTRAST)
    offset = mean[:, :, None] - contrast * drawn_mean
    beyond = offset - offset.clamp(min=0).minimum(1 - contrast)
    misfit = (
        power[:, :, None]
        - mean[:, :, None].square()
        - 2 * contrast * covariance
        + contrast.square() * drawn_variance
        + beyond.square()
    )
    total = 3 * area.sum(1)[:, None]
    explained = (weight[:, None] * misfit.clamp(min=0) + spread[:, :, None]) / total
    score = total.sqrt() * torch.log((flat[:, :, None] / total + NOISE**2) / (explained + NOISE**2))
    score = score.masked_fill((stencil.share < SHARE)[:, None], -math.inf)
    if allowed is not None:
        score = score.masked_fill(allowed[:, None, None] == 0, -math.inf)
    best = score.flatten(3).max(3)
    return Find(best.values, best.indices % size[1], best.indices // size[1])
