"""What stands in a landscape, and the lines that land is cut along. See layers.py for the drawing space."""

import math
from collections.abc import Callable
from random import Random

from piying.theatre.layers import Sheet

Line = Callable[[float], float]  # the height of land at x


def cloud(sheet: Sheet, x: float, y: float, size: float, fill: str) -> None:
    shines = sheet.light != "night"
    puffs = ((-1.1, 0.25, 0.6, 0.55), (0.0, 0.0, 0.9, 0.9), (1.1, 0.2, 0.7, 0.7), (0.0, 0.4, 1.5, 0.55))
    for dx, dy, wide, tall in puffs:
        place = x + dx * size, y + dy * size, wide * size, tall * size
        sheet.ellipse(*place, fill, shines=shines, outline=False)


def spread(rng: Random, count: int) -> list[float]:
    """Places from edge to edge, evenly but not regularly."""
    return [-1.3 + 2.6 * (i + rng.uniform(0.15, 0.85)) / count for i in range(count)]


def waves(rng: Random, level: float, height: float, frequency: float) -> Line:
    a, b = rng.random(), rng.random()

    def ridge(x: float) -> float:
        swell, ripple = math.sin(math.tau * (frequency * x + a)), math.sin(math.tau * (1.9 * frequency * x + b))
        return level - height * (swell + 0.5 * ripple)

    return ridge


def surf(rng: Random, level: float, height: float, length: float) -> Line:
    """Round troughs between sharp crests."""
    start = rng.random()
    return lambda x: level - height * abs(math.sin(math.pi * (x + start) / length)) ** 1.5


def dunes(rng: Random, level: float, height: float, frequency: float) -> Line:
    """Asymmetric waves: a slow rise and a quick fall."""
    start = rng.random()

    def ridge(x: float) -> float:
        u = (frequency * x + start) % 1
        rise = u / 0.7 if u < 0.7 else (1 - u) / 0.3
        return level - height * rise * rise * (3 - 2 * rise)

    return ridge


def mound(x: float, width: float, level: float, height: float) -> Line:
    return lambda at: level + 0.02 - height * math.exp(-(((at - x) / width) ** 2) * 4)


def glints(sheet: Sheet, rng: Random, y: float, count: int) -> None:
    for x in spread(rng, count):
        length = rng.uniform(0.03, 0.07)
        sheet.line([(x - length, y), (x + length, y)], 0.008, "#bfe3e6")


def ripples(sheet: Sheet, rng: Random, y: float, fill: str) -> None:
    for x in spread(rng, 7):
        length = rng.uniform(0.05, 0.12)
        sheet.line([(x - length, y), (x, y - 0.012), (x + length, y)], 0.008, fill)


def round_tree(sheet: Sheet, x: float, foot: float, height: float, fill: str) -> None:
    sheet.rectangle(x - 0.06 * height, foot - 0.5 * height, x + 0.06 * height, foot + 0.02, "#7d5a40")
    for dx, dy, r in ((-0.22, -0.6, 0.26), (0.22, -0.58, 0.26), (0.0, -0.8, 0.32)):
        sheet.ellipse(x + dx * height, foot + dy * height, r * height, r * height, fill)


def fir(sheet: Sheet, x: float, foot: float, height: float, fill: str, trunk: str, snow: str | None = None) -> None:
    sheet.rectangle(x - 0.05 * height, foot - 0.2 * height, x + 0.05 * height, foot + 0.02, trunk)
    for tier in range(3):
        base, half = foot - (0.12 + 0.26 * tier) * height, (0.34 - 0.08 * tier) * height
        tip = base - 0.4 * height
        sheet.polygon([(x, tip), (x + half, base), (x, base - 0.05 * height), (x - half, base)], fill)
        if snow:
            cap = [
                (x, tip),
                (x + 0.5 * half, tip + 0.2 * height),
                (x, tip + 0.14 * height),
                (x - 0.5 * half, tip + 0.2 * height),
            ]
            sheet.polygon(cap, snow, outline=False)


def trunk(sheet: Sheet, x: float, width: float, fill: str) -> None:
    sheet.polygon(
        [
            (x - width / 2, -0.25),
            (x + width / 2, -0.25),
            (x + 0.6 * width, 0.7),
            (x + width, 0.86),
            (x - width, 0.86),
            (x - 0.6 * width, 0.7),
        ],
        fill,
    )


def flower(sheet: Sheet, x: float, y: float, size: float, fill: str) -> None:
    sheet.line([(x, y), (x, y + 3 * size)], 0.008, "#4f8f3c")
    sheet.ellipse(x, y, size, size, fill, outline=False)
    sheet.ellipse(x, y, 0.4 * size, 0.4 * size, "#e0a030", outline=False)


def grass(sheet: Sheet, rng: Random, fill: str, count: int) -> None:
    sheet.ridge(lambda x: 0.99, fill, outline=False)
    for x in spread(rng, count):
        lean, height = rng.uniform(-0.03, 0.03), rng.uniform(0.04, 0.08)
        sheet.polygon([(x - 0.02, 1.0), (x + lean, 1.0 - height), (x + 0.02, 1.0)], fill, outline=False)


def mushroom(sheet: Sheet, x: float, foot: float, size: float) -> None:
    sheet.rectangle(x - 0.3 * size, foot - 0.8 * size, x + 0.3 * size, foot, "#f1e6d2")
    cap = [
        (x + size * math.cos(a), foot - 0.8 * size - size * math.sin(a)) for a in (math.pi * i / 10 for i in range(11))
    ]
    sheet.polygon(cap, "#c7694f")


def pyramid(sheet: Sheet, x: float, foot: float, height: float) -> None:
    sheet.polygon([(x, foot - height), (x + height, foot), (x - height, foot)], "#d9b06c")
    sheet.polygon([(x, foot - height), (x + height, foot), (x + 0.25 * height, foot)], "#b98d50", outline=False)


def cactus(sheet: Sheet, x: float, foot: float, height: float) -> None:
    fill, width = "#6f9a5c", 0.2 * height
    for side, low, high in ((-1, 0.35, 0.7), (1, 0.5, 0.85)):
        elbow = x + side * 0.32 * height
        sheet.line(
            [(x, foot - low * height), (elbow, foot - low * height), (elbow, foot - high * height)], 0.75 * width, fill
        )
        sheet.ellipse(elbow, foot - high * height, 0.37 * width, 0.37 * width, fill, outline=False)
    sheet.line([(x, foot), (x, foot - 0.95 * height)], width, fill)
    sheet.ellipse(x, foot - 0.95 * height, width / 2, width / 2, fill, outline=False)


def snowman(sheet: Sheet, x: float, foot: float, height: float) -> None:
    for dy, r in ((0.25, 0.28), (0.62, 0.2), (0.88, 0.14)):
        sheet.ellipse(x, foot - dy * height, r * height, r * height, "#ffffff")
    sheet.rectangle(x - 0.11 * height, foot - 1.16 * height, x + 0.11 * height, foot - 0.98 * height, "#5a5560")
    sheet.polygon(
        [(x, foot - 0.9 * height), (x + 0.2 * height, foot - 0.86 * height), (x, foot - 0.83 * height)],
        "#e58a3c",
        outline=False,
    )


def peak(sheet: Sheet, rng: Random, x: float, top: float, foot: float, half: float, rock: str, snow: str) -> None:
    """A peak with a zigzag snow cap and a shaded flank."""
    tip = x + rng.uniform(-0.05, 0.05)
    sheet.polygon([(tip, top), (x + half * 1.4, foot), (x - half * 1.4, foot)], rock)
    height, line = foot - top, 0.32
    left, right = tip + (x - 1.4 * half - tip) * line, tip + (x + 1.4 * half - tip) * line
    y, zig = top + line * height, 0.06 * height
    edge = [(left + (right - left) * i / 6, y + (zig if i % 2 else -zig)) for i in range(1, 6)]
    sheet.polygon([(tip, top), (left, y), *edge, (right, y)], snow)
