"""Which motion a path is: each motion is a family of curves, and the family that fits with the least error wins.

Paths are what the stage draws (piying.theatre.motion): x, y in canvas heights, y down, relative to the stage; angle in
radians, clockwise. Within a family the curves are linear in their coefficients, so a fit is one least-squares solution.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from piying.theatre.scene import MOTIONS, Motion

FLOOR = 0.012  # error of a measured place, canvas heights
OUTLIER = 0.2  # an error that grows no more: the puppet was lost there, canvas heights
LEVER = 0.15  # canvas heights a radian: what an error of the angle weighs
PENALTY = 1.5  # of each coefficient, in units of the Bayesian information criterion
HOPS, SWINGS = (2, 3), (2, 2.5, 3)  # how often in a clip

Curve = list[Tensor]  # what a coordinate may do besides resting, each [T]


def motion(x: Tensor, y: Tensor, angle: Tensor, belief: Tensor) -> Motion:
    """The motion of one actor. x, y, angle (unwrapped), belief [T]; `belief` weighs each moment."""
    misfits = {name: min(_misfits(name, x, y, angle, belief)) for name in MOTIONS}
    return min(misfits, key=lambda name: misfits[name])


def _misfits(name: Motion, x: Tensor, y: Tensor, angle: Tensor, belief: Tensor) -> Iterator[float]:
    """The information criterion of each curve of a family, infinite for one that goes the wrong way."""
    s = torch.linspace(0, 1, len(x), dtype=x.dtype)
    for curves in _family(name, s):
        errors, coefficients = torch.zeros_like(s), []
        for values, curve, weight in zip((x, y, angle), curves, (1, 1, LEVER), strict=True):
            columns = torch.stack([torch.ones_like(s), *curve], 1)
            fit = torch.linalg.lstsq(columns * belief[:, None], (values * belief)[:, None]).solution
            errors += (weight * (values - (columns @ fit)[:, 0])).square()
            coefficients += fit[1:, 0].tolist()
        misfit = float((errors.clamp(max=OUTLIER**2) * belief).sum() / belief.sum())
        effort = PENALTY * len(coefficients) * math.log(len(s))
        yield math.inf if _astray(name, coefficients) else len(s) * math.log(misfit + FLOOR**2) + effort


def _family(name: Motion, s: Tensor) -> Iterator[tuple[Curve, Curve, Curve]]:
    """The curves of x, y and angle over the clip, s in 0..1."""
    match name:
        case "left" | "right":
            yield [s], [], []
        case "rise" | "sink":
            yield [], [s], []
        case "still":
            yield [], [], []
        case "jump":
            for hops in HOPS:
                hop = hops * s % 1
                yield [], [4 * hop * (1 - hop)], []
        case "circle":
            wave = [torch.sin(2 * math.pi * s), torch.cos(2 * math.pi * s)]
            yield wave, wave, []
        case "spin":
            yield [], [], [2 * math.pi * s]
        case "sway":
            for swings in SWINGS:
                wave = [torch.sin(2 * math.pi * swings * s), torch.cos(2 * math.pi * swings * s)]
                yield wave, [], wave


def _astray(name: Motion, coefficients: list[float]) -> bool:
    """Whether the best fit contradicts the motion's name."""
    match name:
        case "left" | "rise":
            return coefficients[0] > -0.1
        case "right" | "sink":
            return coefficients[0] < 0.1
        case "jump":
            return coefficients[0] > -0.03
        case "circle":
            return min(math.hypot(*coefficients[:2]), math.hypot(*coefficients[2:])) < 0.04
        case "spin":
            return abs(coefficients[0]) < 0.7
        case "sway":
            return math.hypot(*coefficients[2:]) < 0.1
    return False
