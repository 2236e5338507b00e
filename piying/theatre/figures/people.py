"""The girl and the boy, and what all people are made of."""

from piying.theatre.figures.paper import (
    CREAM,
    DARK,
    GOLD,
    HAIR,
    MAIN,
    SHADE,
    SKIN,
    TINT,
    Figure,
    Motion,
    Paint,
    Part,
    Point,
    Shape,
    curve,
    disc,
    joint,
    part,
    polygon,
    ribbon,
)


def leg(paint: Paint, hip: Point, lag: float, width: float = 11, swing: float = 22) -> Part:
    """A straight leg and its shoe, down to the ground."""
    x, y = hip
    return part(
        ribbon(paint, width, 0.9 * width, f"{x},{y} {x},42"),
        curve(DARK, f"{x - 6},48! {x - 6},41 {x + 3},41 {x + 12},45 {x + 13},48!"),
        motion=Motion(pivot=hip, turn=swing, lag=lag),
    )


def arm(paint: Paint, shoulder: Point, hand: Point, lag: float, width: float = 10, swing: float = 24) -> Part:
    """A sleeve, wider at the cuff, and a hand."""
    (x, y), (end, low) = shoulder, hand
    return part(
        disc(SKIN, end, low, 4.5),
        ribbon(paint, width, 1.3 * width, f"{x},{y} {0.75 * end + 0.25 * x},{0.75 * low + 0.25 * y}"),
        joint(x, y),
        motion=Motion(pivot=shoulder, turn=swing, lag=lag),
    )


def face(x: float, y: float, size: float) -> tuple[Shape, ...]:
    """A round face of radius `size` that looks to the right."""
    mouth = f"{x + 0.2 * size},{y + 0.45 * size} {x + 0.36 * size},{y + 0.52 * size} {x + 0.5 * size},{y + 0.45 * size}"
    return (
        disc(SKIN, x, y, size, 0.94 * size),
        disc(DARK, x + 0.62 * size, y, 0.14 * size, 0.2 * size, edge=False),
        disc(DARK, x + 0.04 * size, y, 0.14 * size, 0.2 * size, edge=False),
        ribbon(DARK, 0.1 * size, 0.1 * size, mouth, edge=False),
    )


GIRL = Figure(
    parts=(
        arm(SHADE, (8, -9), (27, 6), 0),
        leg(CREAM, (8, 28), 0, width=9),
        leg(CREAM, (-7, 28), 0.5, width=9),
        part(
            curve(MAIN, "-12,-18! 12,-18! 24,2 43,29! 22,36 0,38 -22,36 -43,29! -24,2"),
            curve(TINT, "-39,25! 0,33 39,25! 41,27! 0,36 -41,27!", edge=False),
            motion=Motion(pivot=(0, -10), turn=3),
        ),
        part(
            disc(HAIR, -17, -42, 8),
            disc(HAIR, 17, -43, 6),
            curve(HAIR, "-17,-28 -15,-42 1,-48 16,-42 16,-28 8,-16 -12,-16"),
            *face(3, -29, 13),
            curve(HAIR, "-12,-27! -12,-43 6,-45 16,-35! 6,-39 -3,-37", edge=False),
            polygon(MAIN, "-18,-35 -29,-28 -29,-42 -18,-37 -9,-43 -9,-29"),
            motion=Motion(pivot=(0, -14), turn=3, beats=2),
        ),
        arm(MAIN, (-8, -9), (-23, 11), 0.5, width=11),
    ),
    carry=Motion(shift=(0, 1), beats=2),
)

BOY = Figure(
    parts=(
        arm(SHADE, (8, -8), (22, 12), 0),
        leg(SHADE, (7, 12), 0, width=17, swing=26),
        leg(MAIN, (-6, 12), 0.5, width=20, swing=26),
        part(
            curve(MAIN, "-14,-17! 14,-17! 20,0 20,20! 0,23 -20,20! -20,0"),
            ribbon(GOLD, 4, 4, "-18,12 18,12", edge=False),
        ),
        part(
            disc(HAIR, -7, -26, 10),
            *face(2, -27, 13),
            curve(MAIN, "-18,-29! -18,-44 -2,-51 15,-45 19,-34! 35,-32 34,-27 16,-29"),
            disc(TINT, -1, -49, 3, edge=False),
            motion=Motion(pivot=(0, -14), turn=3, beats=2),
        ),
        arm(MAIN, (-11, -8), (-25, 14), 0.5, width=13),
    ),
    carry=Motion(shift=(0, 1), beats=2),
)
