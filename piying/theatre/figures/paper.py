"""Paper and scissors: shapes cut from paints, parts made of shapes, figures made of parts that move.

Lengths are in percent of a puppet's height: origin at its centre, x right, y down, facing right. Angles are degrees,
clockwise. A path is a string, `"x,y x,y x,y!"`, where `!` marks a corner of a curve.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

Point = tuple[float, float]


class Paint(IntEnum):
    """What a pixel of a puppet is made of; a style says what it looks like."""

    NONE = 0
    INK = 1  # outlines
    MAIN = 2  # the actor's colour
    SHADE = 3  # darker paper of the same colour
    TINT = 4  # lighter paper of the same colour
    CREAM = 5
    DARK = 6
    GOLD = 7
    SKIN = 8
    HAIR = 9
    GLASS = 10
    WOOD = 11
    SEAM = 12  # thin lines and joints inside a part


INK, MAIN, SHADE, TINT, CREAM, DARK, GOLD, SKIN, HAIR, GLASS, WOOD, SEAM = list(Paint)[1:]


@dataclass(frozen=True, eq=False)
class Shape:
    """A filled outline [N 2]. `edge`: it belongs to the silhouette, which gets an ink outline outside of it."""

    paint: Paint
    points: np.ndarray
    edge: bool


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How a part moves about its pivot, with wave = sin(2 pi (beats * phase + lag)) and phase in gait cycles."""

    pivot: Point = (0, 0)
    tilt: float = 0  # degrees, always
    turn: float = 0  # degrees at wave = 1
    spin: float = 0  # turns per cycle
    shrink: Point = (0, 0)  # share of width and height that is lost at wave = -1
    shift: Point = (0, 0)  # at wave = 1
    beats: int = 1
    lag: float = 0  # share of a beat


@dataclass(frozen=True)
class Part:
    shapes: tuple[Shape, ...]
    motion: Motion


@dataclass(frozen=True)
class Figure:
    """Parts in painter's order; `carry` moves them all together."""

    parts: tuple[Part, ...]
    carry: Motion = Motion()


STILL = Motion()


def part(*shapes: Shape, motion: Motion = STILL) -> Part:
    return Part(shapes, motion)


def polygon(paint: Paint, path: str, edge: bool = True) -> Shape:
    return Shape(paint, _points(path, closed=False), edge)


def curve(paint: Paint, path: str, edge: bool = True) -> Shape:
    """A smooth closed outline through the points."""
    return Shape(paint, _spline(_points(path, closed=True)), edge)


def disc(paint: Paint, x: float, y: float, width: float, height: float | None = None, edge: bool = True) -> Shape:
    """A disc of radius `width`, or an ellipse of radii `width` and `height`."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radii = width, width if height is None else height
    return Shape(paint, np.array((x, y)) + radii * np.stack((np.cos(angle), np.sin(angle)), 1), edge)


def ribbon(paint: Paint, start: float, end: float, path: str, edge: bool = True) -> Shape:
    """A smooth band along the path with round ends, `start` wide at its first point and `end` at its last."""
    given = _points(path, closed=False)
    centre = _spline(np.concatenate((given[:1], given, given[-1:])))
    along = np.gradient(centre, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = along[:, ::-1] * (-1, 1)
    length = np.concatenate(([0], np.linalg.norm(np.diff(centre, axis=0), axis=1).cumsum()))
    half = (start + (end - start) * length / length[-1])[:, None] / 2
    angle = np.linspace(0, np.pi, 9)[1:-1, None]
    tip = centre[-1] + half[-1] * (np.cos(angle) * across[-1] + np.sin(angle) * along[-1])
    root = centre[0] - half[0] * (np.cos(angle) * across[0] + np.sin(angle) * along[0])
    return Shape(paint, np.concatenate((centre + half * across, tip, (centre - half * across)[::-1], root)), edge)


def mirror(*shapes: Shape) -> tuple[Shape, ...]:
    """The same shapes flipped left to right about x = 0."""
    return tuple(Shape(shape.paint, shape.points * (-1, 1), shape.edge) for shape in shapes)


def seam(path: str, width: float = 2) -> Shape:
    """A line cut or stitched into a part."""
    return ribbon(SEAM, width, width, path, edge=False)


def joint(x: float, y: float) -> Shape:
    """The knot that holds a limb."""
    return disc(SEAM, x, y, 1.7, edge=False)


def eye(x: float, y: float, size: float) -> tuple[Shape, Shape]:
    return disc(CREAM, x, y, size, edge=False), disc(DARK, x + 0.25 * size, y, 0.62 * size, edge=False)


def _points(path: str, closed: bool) -> np.ndarray:
    """A path as [N 2]; a corner is doubled, and a closed path overlaps its ends, as `_spline` wants them."""
    points = []
    for word in path.split():
        x, y = word.rstrip("!").split(",")
        points += [(float(x), float(y))] * (2 if word.endswith("!") else 1)
    return np.array([points[-1], *points, *points[:2]] if closed else points)


def _spline(points: np.ndarray, steps: int = 8) -> np.ndarray:
    """Catmull-Rom through points[1:-1], whose ends only give direction; a doubled point gives a corner."""
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    bends = np.flatnonzero((points[1:-2] != points[2:-1]).any(1))  # between the two of a doubled point there is nothing
    p0, p1, p2, p3 = (points[bends + i, None] for i in range(4))
    cubic = p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))
    return np.concatenate((cubic.reshape(-1, 2), points[-2:-1]))
