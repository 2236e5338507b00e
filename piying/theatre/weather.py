"""Rain, snow, falling leaves and fog: transparent tiles that drift across the picture without end."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from piying.theatre.scene import Light, Weather
from piying.theatre.styles import INK, MIST, SCREEN, AnyStyle

RGB = tuple[float, float, float]
Polygon = list[tuple[float, float]]

VARIANTS = 4
SUPERSAMPLING = 3
TURNS = 8  # drawings of a leaf's tumble
TURNS_PER_SECOND = 8

DIMMING: dict[Weather, float] = {"clear": 1.0, "rain": 0.78, "snow": 0.8, "leaves": 1.0, "fog": 0.95}  # of the backdrop
_LEAVES: tuple[RGB, ...] = ((0.96, 0.42, 0.02), (0.55, 0.04, 0.06), (1.0, 0.84, 0.1))  # one stands out of any dusk


@dataclass(frozen=True)
class Veil:
    """One tile of one colour, as large as the canvas."""

    tiles: Tensor  # coverage [T 2H 2W] in 0..1: T drawings that follow each other, each repeated both ways
    opacity: float
    colour: RGB
    fall: float  # canvas heights a second
    drift: float  # to the right, canvas heights a second
    sway: float = 0.0  # to and fro, canvas heights
    behind: bool = False  # the actors


def veils(weather: Weather, style: AnyStyle, light: Light, seed: int, size: tuple[int, int], device: str) -> list[Veil]:
    """The veils of a weather on a canvas of `size` (height, width), far to near."""

    def tiles(kind: str) -> Tensor:
        return _tiles(kind, seed % VARIANTS, size, device)

    match weather:
        case "rain":
            inked = style in ("shadow", "woodcut") or (style == "ink" and light != "night")  # at night a wash is dark
            wet = INK["night"] if inked else (0.88, 0.93, 1.0)
            far = Veil(tiles("drizzle"), 0.5, wet, fall=1.1, drift=-0.22, behind=True)
            return [far, Veil(tiles("rain"), 0.75, wet, fall=1.7, drift=-0.34)]
        case "snow":
            white = (1.0, 0.96, 0.86) if style == "shadow" else (1.0, 1.0, 1.0)
            far = Veil(tiles("flurry"), 0.8, white, fall=0.16, drift=0.03, sway=0.02, behind=True)
            return [far, Veil(tiles("snow"), 1.0, white, fall=0.26, drift=0.0, sway=0.035)]
        case "leaves":
            dyes = _LEAVES
            if style == "shadow":
                dyes = (INK[light],) * 3
            elif style == "black_and_white":  # their colours would all be the grey of a backdrop
                dyes = ((0.85,) * 3 if light == "night" else (0.05,) * 3,) * 3
            return [
                Veil(tiles(f"leaves {i}"), 1.0, dye, fall=0.2 + 0.06 * i, drift=-0.1, sway=0.05, behind=i == 0)
                for i, dye in enumerate(dyes)
            ]
        case "fog":
            mist = SCREEN[light] if style == "shadow" else MIST[light]
            far = Veil(tiles("fog"), 1.0, mist, fall=0.0, drift=0.1, behind=True)
            return [far, Veil(tiles("fog"), 0.4, mist, fall=0.0, drift=-0.14)]
    return []


@lru_cache(maxsize=64)
def _tiles(kind: str, variant: int, size: tuple[int, int], device: str) -> Tensor:
    rng = Random(f"{kind} {variant}")
    aspect = size[1] / size[0]
    if kind == "fog":
        return _banks(rng, size)[None].repeat(1, 2, 2).to(device)
    if kind.startswith("leaves"):
        places = [(rng.uniform(0, aspect), rng.random(), rng.random()) for _ in range(round(6 * aspect))]
        drawings = [[_leaf(x, y, start + turn / TURNS) for x, y, start in places] for turn in range(TURNS)]
    else:
        shape, count, length, width = _SPECKS[kind]
        places = [(rng.uniform(0, aspect), rng.random(), rng.uniform(0.8, 1.2)) for _ in range(round(count * aspect))]
        drawings = [[shape(x, y, length * big, width * big) for x, y, big in places]]
    return torch.stack([_cut(polygons, size) for polygons in drawings]).repeat(1, 2, 2).to(device)


def _cut(polygons: list[Polygon], size: tuple[int, int]) -> Tensor:
    """Shapes [H W] in canvas heights; what leaves the tile on one side comes in on the other."""
    height, width = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    for points in polygons:
        for dx in (-width, 0, width):
            for dy in (-height, 0, height):
                draw.polygon([(x * height + dx, y * height + dy) for x, y in points], 255)
    small = image.reduce(SUPERSAMPLING)
    return torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).view(*size) / 255


def _streak(x: float, y: float, length: float, width: float) -> Polygon:
    return [(x, y), (x + width, y), (x + width - 0.2 * length, y + length), (x - 0.2 * length, y + length)]


def _flake(x: float, y: float, length: float, width: float) -> Polygon:
    return [(x + width / 2 * math.cos(a), y + length / 2 * math.sin(a)) for a in (math.tau * i / 10 for i in range(10))]


_SPECKS: dict[str, tuple[Callable[[float, float, float, float], Polygon], int, float, float]] = {
    "drizzle": (_streak, 40, 0.07, 0.006),  # how many on a square canvas, length and width in canvas heights
    "rain": (_streak, 28, 0.13, 0.01),
    "flurry": (_flake, 34, 0.016, 0.016),
    "snow": (_flake, 24, 0.032, 0.032),
}


def _leaf(x: float, y: float, turn: float) -> Polygon:
    """A pointed oval that turns on itself and shows its edge twice a turn."""
    cos, sin = math.cos(math.tau * turn), math.sin(math.tau * turn)
    broad = 0.018 * (0.4 + 0.6 * abs(math.cos(math.tau * 1.5 * turn)))
    outline = [
        (0.04 * math.cos(a), broad * math.sin(a) * abs(math.sin(a))) for a in (math.tau * i / 12 for i in range(12))
    ]
    return [(x + cos * u - sin * v, y + sin * u + cos * v) for u, v in outline]


def _banks(rng: Random, size: tuple[int, int]) -> Tensor:
    """Long soft banks [H W], thicker towards the ground."""
    aspect = size[1] / size[0]
    y, x = torch.meshgrid(torch.linspace(0, 1, size[0]), torch.linspace(0, math.tau, size[1]), indexing="ij")
    bank = torch.zeros(size)
    for _ in range(7):
        turns, start, level = rng.randint(1, round(2 * aspect)), rng.uniform(0, math.tau), rng.uniform(0.15, 0.95)
        height = torch.exp(-(((y - level - 0.05 * torch.sin(x + start)) / 0.12) ** 2))
        bank += height * (0.6 + 0.4 * torch.sin(turns * x + start))
    return (0.25 + 0.2 * y + 0.3 * bank).clamp(0, 0.72)
