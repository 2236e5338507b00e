"""Places that people built: the city at night, a child's room, the empty stage. See layers.py for the drawing space."""

from random import Random

from piying.theatre.landscapes import New, in_depth, sky
from piying.theatre.layers import Layer, Sheet


def night_city(new: New, rng: Random) -> list[Layer]:
    """Lit windows in every light: by day the sky is that of early evening."""
    distance, middle, ground, front = new(), new(), new(), new()
    _skyline(distance, rng, "#5f6f9c", 0.72, (0.16, 0.5), (0.1, 0.18), 0.03)
    _skyline(middle, rng, "#3d4672", 0.8, (0.3, 0.6), (0.16, 0.28), 0.045)
    ground.rectangle(-ground.reach, 0.78, ground.reach, 1.25, "#6a6c7c")
    ground.rectangle(-ground.reach, 0.78, ground.reach, 0.82, "#9a9aa2")
    for i in range(-6, 7):
        ground.rectangle(0.24 * i - 0.06, 0.93, 0.24 * i + 0.06, 0.95, "#f2e6b8", outline=False)
    for x in (-0.95, -0.35, 0.35, 0.95):
        _lamp(ground, x + rng.uniform(-0.06, 0.06), 0.81)
    front.rectangle(-front.reach, 0.985, front.reach, 1.25, "#3c3d4a")
    back = sky(new(), rng, "#6a7cae", "#d8b6a8", clouds=3)
    return in_depth(back, distance, middle, ground, front)


def room(new: New, rng: Random) -> list[Layer]:
    wall, shelf, floor, front = new(), new(), new(), new()
    wall.rectangle(-wall.reach, -0.25, wall.reach, 1.25, "#f3dcb8", outline=False)
    for i in range(-12, 13):
        wall.rectangle(0.11 * i - 0.022, -0.25, 0.11 * i + 0.022, 0.8, "#ecc9a0", outline=False)
    side = rng.choice((-1, 1))
    _window(wall, side * 0.42, 0.3, rng)
    wall.rectangle(-side * 0.46 - 0.13, 0.16, -side * 0.46 + 0.13, 0.36, "#b98a5c")
    wall.rectangle(-side * 0.46 - 0.1, 0.19, -side * 0.46 + 0.1, 0.33, "#d8ecdf", outline=False)
    wall.polygon(
        [(-side * 0.46 - 0.09, 0.33), (-side * 0.48, 0.22), (-side * 0.46 + 0.06, 0.33)], "#8fb07e", outline=False
    )
    wall.rectangle(-wall.reach, 0.69, wall.reach, 0.74, "#fff6e4")
    for x in (-side * 0.95, side * 1.05):
        _toy_shelf(shelf, x, rng)
    floor.rectangle(-floor.reach, 0.74, floor.reach, 1.25, "#c99b6a")
    for y in (0.8, 0.87, 0.95):
        floor.line([(-floor.reach, y), (floor.reach, y)], 0.006, "#a97c50")
    for width, fill in ((0.66, "#9c6f86"), (0.6, "#e3c4cc"), (0.5, "#b98a9c"), (0.42, "#ecd6da")):
        floor.ellipse(0, 0.9, width, 0.17 * width, fill, outline=width > 0.6)
    for i in range(3):
        x = side * (0.72 + 0.12 * i)
        fill = ("#d98880", "#8fb8d0", "#e6c878")[i]
        floor.rectangle(x - 0.055, 0.73 - 0.02 * i, x + 0.055, 0.84 - 0.02 * i, fill)
    floor.ellipse(-side * 0.82, 0.8, 0.07, 0.07, "#9ac0a4")
    floor.line([(-side * 0.82 - 0.065, 0.8), (-side * 0.82 + 0.065, 0.8)], 0.014, "#fff6e4")
    front.rectangle(-front.reach, 0.99, front.reach, 1.25, "#a87a4e")
    return [wall.finish(0.6), shelf.finish(0.8), floor.finish(1.0), front.finish(1.3)]


def stage(new: New, rng: Random) -> list[Layer]:
    cloth, wings, floor, valance, front = new(), new(), new(), new(), new()
    cloth.gradient(0.0, "#b9a88c", 0.75, "#efe2c6", shines=False)
    x = rng.uniform(-0.15, 0.15)
    for size, fill in ((1.0, "#f4e9d0"), (0.75, "#fbf4e2")):
        cloth.ellipse(x, 0.5, 0.55 * size, 0.42 * size, fill, outline=False)
    for side in (-1, 1):
        _curtain(wings, side, 0.62)
    floor.rectangle(-floor.reach, 0.78, floor.reach, 1.25, "#b07f52")
    for i in range(-14, 15):
        floor.line([(0.1 * i, 0.78), (0.16 * i, 1.25)], 0.006, "#8a5f3a")
    floor.rectangle(-floor.reach, 0.775, floor.reach, 0.79, "#7d5433", outline=False)
    valance.rectangle(-valance.reach, -0.25, valance.reach, 0.03, "#96303a")
    for i in range(-9, 10):
        valance.ellipse(0.15 * i, 0.03, 0.075, 0.06, "#a83842")
    valance.line([(-valance.reach, 0.0), (valance.reach, 0.0)], 0.014, "#e0b860")
    front.rectangle(-front.reach, 0.975, front.reach, 1.25, "#5f3f28")
    for i in range(-5, 6):
        front.ellipse(0.3 * i + 0.1, 0.975, 0.035, 0.028, "#ffe9a8", shines=True)
    return [cloth.finish(0.3), wings.finish(0.8), floor.finish(1.0), valance.finish(1.1), front.finish(1.3)]


def _skyline(
    sheet: Sheet,
    rng: Random,
    fill: str,
    foot: float,
    tall: tuple[float, float],
    wide: tuple[float, float],
    pitch: float,
) -> None:
    x = -sheet.reach
    while x < sheet.reach:
        width, top = rng.uniform(*wide), foot - rng.uniform(*tall)
        sheet.rectangle(x, top, x + width, 1.25, fill)
        if rng.random() < 0.4:
            sheet.polygon([(x, top), (x + width, top), (x + width / 2, top - 0.3 * width)], fill)
        columns = int((width - 0.4 * pitch) / pitch)
        inset = (width - columns * pitch) / 2
        for row in range(int((foot - top) / (1.3 * pitch))):
            for column in range(columns):
                if rng.random() < 0.62:
                    left, up = x + inset + (column + 0.22) * pitch, top + (row + 0.4) * 1.3 * pitch
                    light = rng.choice(("#ffd978", "#ffc65c", "#fff0b4"))
                    sheet.rectangle(left, up, left + 0.56 * pitch, up + 0.7 * pitch, light, shines=True, outline=False)
        x += width + rng.uniform(0, 0.02)


def _lamp(sheet: Sheet, x: float, foot: float) -> None:
    sheet.line([(x, foot), (x, foot - 0.34)], 0.014, "#2e3040")
    sheet.line([(x, foot - 0.34), (x + 0.06, foot - 0.36)], 0.012, "#2e3040")
    sheet.ellipse(x + 0.07, foot - 0.345, 0.026, 0.026, "#fff0b0", shines=True)


def _window(wall: Sheet, x: float, y: float, rng: Random) -> None:
    upper, lower = {"day": ("#a9dcf2", "#e4f4f4"), "dusk": ("#a86a90", "#ffb066"), "night": ("#121a42", "#34477e")}[
        wall.light
    ]
    wall.rectangle(x - 0.22, y - 0.2, x + 0.22, y + 0.22, "#fffaf0")
    wall.rectangle(x - 0.19, y - 0.17, x + 0.19, y + 0.19, upper, shines=True, outline=False)
    wall.rectangle(x - 0.19, y + 0.03, x + 0.19, y + 0.19, lower, shines=True, outline=False)
    body = {"day": "#ffe07a", "dusk": "#ff8a4c", "night": "#fff2c0"}[wall.light]
    wall.ellipse(x + 0.09, y - 0.07 + 0.1 * (wall.light == "dusk"), 0.05, 0.05, body, shines=True, outline=False)
    wall.line([(x, y - 0.17), (x, y + 0.19)], 0.018, "#fffaf0")
    wall.line([(x - 0.19, y + 0.01), (x + 0.19, y + 0.01)], 0.018, "#fffaf0")
    for side in (-1, 1):
        wall.polygon(
            [
                (x + side * 0.29, y - 0.24),
                (x + side * 0.1, y - 0.24),
                (x + side * 0.2, y),
                (x + side * 0.18, y + 0.28),
                (x + side * 0.29, y + 0.28),
            ],
            "#a9c8b4",
        )
    wall.line([(x - 0.32, y - 0.24), (x + 0.32, y - 0.24)], 0.018, "#a97c50")


def _toy_shelf(sheet: Sheet, x: float, rng: Random) -> None:
    sheet.rectangle(x - 0.2, 0.3, x + 0.2, 0.78, "#b98a5c")
    for row in range(3):
        top = 0.33 + 0.15 * row
        sheet.rectangle(x - 0.17, top, x + 0.17, top + 0.12, "#8f6640")
        left = x - 0.15
        while left < x + 0.11:
            width, tall = rng.uniform(0.025, 0.05), rng.uniform(0.06, 0.1)
            fill = rng.choice(("#d98880", "#8fb8d0", "#e6c878", "#9ac0a4", "#fff6e4", "#b99cc4"))
            sheet.rectangle(left, top + 0.12 - tall, left + width, top + 0.12, fill)
            left += width + 0.006


def _curtain(sheet: Sheet, side: int, inner: float) -> None:
    folds = ("#96303a", "#b8434c", "#a83842", "#c25058")
    width = 0.055
    for i in range(int((sheet.reach - inner) / width) + 1, -1, -1):
        x = inner + i * width
        swell = 0.03 if i == 0 else 0.0
        points = [(x, -0.25), (x + width, -0.25), (x + width, 0.84), (x - swell, 0.84), (x + 0.4 * swell, 0.5)]
        sheet.polygon([(side * px, py) for px, py in points], folds[i % 4])
    sheet.line([(side * inner, 0.55), (side * (inner + 0.3), 0.5)], 0.03, "#e0b860")
