"""Sheets of paper that stand one behind the other, and the scissors that cut them.

Drawing space: canvas heights, x right from the middle of the stage, y down from the canvas's top (0) to its foot (1).
Sheets reach beyond the canvas for the camera's travel.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image, ImageColor, ImageDraw, ImageFilter
from torch import Tensor

from piying.theatre.light import tint
from piying.theatre.scene import Light

TOP, BOTTOM = -0.25, 1.25  # of every sheet, canvas heights
BESIDE = 0.55  # beyond the canvas on either side
SUPERSAMPLING = 3
DENSITY = 1.15  # texels a canvas pixel, so that a zoom stays crisp

Point = tuple[float, float]


@dataclass(frozen=True)
class Layer:
    """One sheet, premultiplied RGBA: where it stands, and its share of the camera's travel (1: that of the actors)."""

    texture: Tensor  # uint8 [4 h w]
    box: tuple[float, float, float, float]  # left, top, right, bottom in drawing space
    depth: float

    def to(self, device: str) -> "Layer":
        return replace(self, texture=self.texture.to(device))


class Sheet:
    """One sheet being cut. Fills are day colours; the light dyes them unless they shine by themselves."""

    def __init__(self, resolution: float, aspect: float, light: Light, outline: float):
        """`resolution`: texels a canvas height; `outline`: width of the pen, canvas heights."""
        self.reach = aspect / 2 + BESIDE
        self.light = light
        self.outline = outline
        self._resolution = resolution
        self._scale = resolution * SUPERSAMPLING
        # Four plain channels that hold RGBA: Pillow averages what it knows to be RGBA much more slowly.
        size = round(2 * self.reach * resolution), round((BOTTOM - TOP) * resolution)
        self._image = Image.new("CMYK", (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING))
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: Sequence[Point], fill: str, *, shines: bool = False, outline: bool = True) -> None:
        place = [self._pixel(point) for point in points]
        colour = self._colour(fill, shines)
        self._draw.polygon(place, colour)
        if outline:
            self._draw.line([*place, place[0], place[1]], _darker(colour), self._pen, "curve")

    def line(self, points: Sequence[Point], width: float, fill: str, *, shines: bool = False) -> None:
        pixels = max(1, round(width * self._scale))
        self._draw.line([self._pixel(point) for point in points], self._colour(fill, shines), pixels, "curve")

    def ellipse(
        self, x: float, y: float, width: float, height: float, fill: str, *, shines: bool = False, outline: bool = True
    ) -> None:
        """`width` and `height` are radii."""
        steps = [math.tau * i / 36 for i in range(36)]
        points = [(x + width * math.cos(a), y + height * math.sin(a)) for a in steps]
        self.polygon(points, fill, shines=shines, outline=outline)

    def rectangle(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        fill: str,
        *,
        shines: bool = False,
        outline: bool = True,
    ) -> None:
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
        self.polygon(points, fill, shines=shines, outline=outline)

    def ridge(self, height: Callable[[float], float], fill: str, *, outline: bool = True) -> None:
        """Everything below a line y = height(x), from edge to edge."""
        steps = 160
        xs = [self.reach * (2 * i / steps - 1) for i in range(steps + 1)]
        crest = [(x, height(x)) for x in xs]
        self.polygon([*crest, (self.reach, BOTTOM), (-self.reach, BOTTOM)], fill, outline=False)
        if outline:
            self._draw.line(
                [self._pixel(point) for point in crest], _darker(self._colour(fill, False)), self._pen, "curve"
            )

    def gradient(self, top: float, upper: str, bottom: float, lower: str, *, shines: bool = True) -> None:
        """The whole sheet, from one colour at `top` to another at `bottom`."""
        above, below = self._colour(upper, shines), self._colour(lower, shines)
        first, last = self._pixel((0, top))[1], self._pixel((0, bottom))[1]
        for row in range(self._image.height):
            share = min(max((row - first) / (last - first), 0), 1)
            colour = tuple(round(a + (b - a) * share) for a, b in zip(above, below, strict=True))
            self._draw.line([(0, row), (self._image.width, row)], colour)

    def finish(self, depth: float, shadow: float = 0.3) -> Layer:
        """The sheet with the soft shadow that it throws on the sheets behind it, cut to the rows that hold anything.

        Hard edges over empty black, averaged, are premultiplied colours.
        """
        image = self._image.reduce(SUPERSAMPLING)
        reach = 0.02 * self._resolution
        shade = image.getchannel("K").filter(ImageFilter.GaussianBlur(reach))
        under = Image.new("L", image.size)
        under.paste(shade, (round(0.5 * reach), round(0.7 * reach)))
        box = under.point(lambda alpha: 255 * (alpha > 4)).getbbox() or (0, 0, *image.size)
        rows = slice(box[1], box[3])
        texture = _tensor(image)[:, rows].float()
        texture[3] += (255 - texture[3]) * shadow * _tensor(under)[0, rows] / 255
        top = TOP + box[1] / self._resolution
        bottom = TOP + box[3] / self._resolution
        return Layer(texture.round().to(torch.uint8), (-self.reach, top, self.reach, bottom), depth)

    @property
    def _pen(self) -> int:
        return max(1, round(self.outline * self._scale))

    def _pixel(self, point: Point) -> Point:
        return (point[0] + self.reach) * self._scale, (point[1] - TOP) * self._scale

    def _colour(self, fill: str, shines: bool) -> tuple[int, ...]:
        colour = ImageColor.getrgb(fill)[:3]
        return (*(colour if shines else tint(colour, self.light)), 255)


def _darker(colour: tuple[int, ...]) -> tuple[int, ...]:
    return (*(round(0.5 * channel) for channel in colour[:3]), 255)


def _tensor(image: Image.Image) -> Tensor:
    """uint8 [C h w]."""
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, -1).permute(2, 0, 1)
