"""Places under the open sky. Each is a list of sheets from back to front; see layers.py for the drawing space."""

from collections.abc import Callable
from random import Random

from piying.theatre import props
from piying.theatre.layers import Layer, Sheet

New = Callable[[], Sheet]


def sea(new: New, rng: Random) -> list[Layer]:
    distance = new()
    for _ in range(3):
        x, width, height = rng.uniform(-1, 1), rng.uniform(0.18, 0.32), rng.uniform(0.08, 0.16)
        distance.ridge(props.mound(x, width, 0.56, height), "#8fb0a8")
    layers = [sky(new(), rng, "#9fd4ea", "#e8f4ea"), distance.finish(0.45)]
    water = ("#4f9fb4", "#3d8ca6", "#2f7a98", "#266a8a")
    for row, (fill, depth) in enumerate(zip(water, (0.7, 0.8, 0.9, 1.0), strict=True)):
        wave = new()
        level = 0.56 + 0.09 * row
        wave.ridge(props.surf(rng, level, 0.035, 0.16 + 0.05 * row), fill)
        props.glints(wave, rng, level + 0.04, 7)
        layers.append(wave.finish(depth, shadow=0.2))
    front = new()
    front.ridge(props.surf(rng, 0.97, 0.05, 0.36), "#1f5878")
    return [*layers, front.finish(1.3)]


def meadow(new: New, rng: Random) -> list[Layer]:
    distance = new()
    distance.ridge(props.waves(rng, 0.5, 0.05, 1.1), "#b8d69a")
    middle = new()
    hill = props.waves(rng, 0.6, 0.035, 1.6)
    middle.ridge(hill, "#93c36e")
    for x in props.spread(rng, 5):
        props.round_tree(middle, x, hill(x), rng.uniform(0.16, 0.26), "#5f9e4c")
    ground = new()
    ground.ridge(props.waves(rng, 0.74, 0.02, 1.4), "#74b254")
    for x in props.spread(rng, 22):
        props.flower(ground, x, rng.uniform(0.79, 0.96), 0.014, rng.choice(("#fff3c4", "#f7c6d4", "#ffe27a")))
    front = new()
    props.grass(front, rng, "#4f8f3c", 46)
    return in_depth(sky(new(), rng, "#a9dcf2", "#f2f8e4"), distance, middle, ground, front)


def forest(new: New, rng: Random) -> list[Layer]:
    back = new()
    back.gradient(0.1, "#cfe3c0", 0.8, "#a9c99a", shines=False)
    distance = new()
    for x in props.spread(rng, 12):
        props.trunk(distance, x, rng.uniform(0.03, 0.05), "#9db692")
    distance.ridge(props.waves(rng, 0.68, 0.02, 2), "#8fb07e")
    middle = new()
    for x in props.spread(rng, 7):
        props.fir(middle, x, 0.76, rng.uniform(0.4, 0.6), "#4f7d58", "#5b4636")
    middle.ridge(props.waves(rng, 0.73, 0.02, 2), "#6d9257")
    ground = new()
    for x in props.spread(rng, 4):
        props.trunk(ground, x, rng.uniform(0.06, 0.08), "#6b4f3c")
    ground.ridge(props.waves(rng, 0.8, 0.015, 2), "#577a45")
    for x in props.spread(rng, 6):
        props.mushroom(ground, x, rng.uniform(0.86, 0.93), rng.uniform(0.03, 0.045))
    canopy = new()
    for x in props.spread(rng, 16):
        canopy.ellipse(x, rng.uniform(-0.12, -0.02), rng.uniform(0.14, 0.2), rng.uniform(0.1, 0.16), "#3f6b45")
    front = new()
    props.grass(front, rng, "#35573a", 30)
    return [
        back.finish(0.1),
        distance.finish(0.45),
        middle.finish(0.8),
        ground.finish(1.0),
        canopy.finish(1.15),
        front.finish(1.3),
    ]


def desert(new: New, rng: Random) -> list[Layer]:
    distance = new()
    for x in props.spread(rng, 3):
        props.pyramid(distance, x, 0.62, rng.uniform(0.16, 0.28))
    distance.ridge(props.waves(rng, 0.61, 0.02, 1), "#e6bd7c")
    middle = new()
    dune = props.dunes(rng, 0.66, 0.08, 1.0)
    middle.ridge(dune, "#dca860")
    for x in props.spread(rng, 4):
        props.cactus(middle, x, dune(x) + 0.02, rng.uniform(0.16, 0.24))
    ground = new()
    ground.ridge(props.dunes(rng, 0.8, 0.045, 1.5), "#eec888")
    for row in range(3):
        props.ripples(ground, rng, 0.86 + 0.05 * row, "#d6a866")
    front = new()
    front.ridge(props.dunes(rng, 1.0, 0.04, 1.2), "#c8924c")
    return in_depth(sky(new(), rng, "#8fcde6", "#fdeec8", clouds=0), distance, middle, ground, front)


def snowfield(new: New, rng: Random) -> list[Layer]:
    distance = new()
    distance.ridge(props.waves(rng, 0.52, 0.05, 1.2), "#c4d6e6")
    middle = new()
    drift = props.waves(rng, 0.64, 0.03, 1.5)
    for x in props.spread(rng, 6):
        props.fir(middle, x, drift(x) + 0.02, rng.uniform(0.2, 0.3), "#5d8478", "#6a5140", snow="#f6fafc")
    middle.ridge(drift, "#dde9f2")
    ground = new()
    ground.ridge(props.waves(rng, 0.77, 0.025, 1.3), "#f2f6fa")
    x = rng.choice((-1, 1)) * rng.uniform(0.45, 0.65)
    props.snowman(ground, x, 0.85, 0.2)
    for row in range(3):
        props.ripples(ground, rng, 0.84 + 0.05 * row, "#cfdce8")
    front = new()
    front.ridge(props.waves(rng, 0.99, 0.025, 1.6), "#d2e0ec")
    return in_depth(sky(new(), rng, "#8fb4d2", "#dfeaf2"), distance, middle, ground, front)


def mountains(new: New, rng: Random) -> list[Layer]:
    far, near = new(), new()
    for x in props.spread(rng, 5):
        props.peak(far, rng, x, rng.uniform(0.1, 0.22), 0.75, rng.uniform(0.28, 0.36), "#a9b8cc", "#f4f7fa")
    for x in props.spread(rng, 5):
        props.peak(near, rng, x, rng.uniform(0.32, 0.44), 0.85, rng.uniform(0.22, 0.3), "#7f8ea6", "#e9eff5")
    near.ridge(props.waves(rng, 0.74, 0.02, 2), "#8ba07e")
    for x in props.spread(rng, 13):
        props.fir(near, x, rng.uniform(0.74, 0.78), rng.uniform(0.08, 0.13), "#4d6b5a", "#4a3c30")
    ground = new()
    ground.ridge(props.waves(rng, 0.8, 0.02, 1.5), "#a3ab84")
    for x in props.spread(rng, 9):
        y = rng.uniform(0.86, 0.95)
        ground.ellipse(x, y, rng.uniform(0.02, 0.05), rng.uniform(0.012, 0.022), "#9a9c98")
    front = new()
    props.grass(front, rng, "#6f7d54", 26)
    return in_depth(sky(new(), rng, "#b4d4ec", "#f6f1e2"), far, near, ground, front)


def in_depth(back: Layer, distance: Sheet, middle: Sheet, ground: Sheet, front: Sheet) -> list[Layer]:
    """The usual five sheets where they usually stand; the actors are at the depth of the ground."""
    return [back, distance.finish(0.45), middle.finish(0.8), ground.finish(1.0), front.finish(1.3)]


def sky(sheet: Sheet, rng: Random, upper: str, lower: str, clouds: int = 5) -> Layer:
    """The light's own sky: sun and clouds by day, a low sun at dusk, moon and stars at night."""
    if sheet.light == "day":
        sheet.gradient(0.0, upper, 0.65, lower)
        sheet.ellipse(rng.uniform(-0.6, 0.6), 0.15, 0.08, 0.08, "#ffe07a")
        for x in props.spread(rng, clouds):
            props.cloud(sheet, x, rng.uniform(0.08, 0.32), rng.uniform(0.06, 0.1), "#ffffff")
    elif sheet.light == "dusk":
        sheet.gradient(-0.1, "#7a5a98", 0.6, "#ffb066")
        x = rng.uniform(-0.5, 0.5)
        sheet.ellipse(x, 0.42, 0.15, 0.15, "#ffcf7c", outline=False)
        sheet.ellipse(x, 0.42, 0.11, 0.11, "#ff8a4c", outline=False)
        for x in props.spread(rng, clouds):
            props.cloud(sheet, x, rng.uniform(0.08, 0.3), rng.uniform(0.06, 0.09), "#e88a7a")
    else:
        sheet.gradient(0.0, "#121a42", 0.65, "#34477e")
        for x in props.spread(rng, 44):
            y, size = rng.uniform(-0.2, 0.5), rng.choice((0.006, 0.008, 0.012))
            sheet.ellipse(x, y, size, size, "#fff4c8", shines=True, outline=False)
        x = rng.choice((-1, 1)) * rng.uniform(0.25, 0.55)
        sheet.ellipse(x, 0.17, 0.085, 0.085, "#fff2c0", shines=True, outline=False)
        sheet.ellipse(x + 0.045, 0.15, 0.07, 0.07, "#1b2550", shines=True, outline=False)
    return sheet.finish(0.1)
