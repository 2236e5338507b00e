"""Things that sail, drive and fly."""

from piying.theatre.figures.paper import (
    CREAM,
    DARK,
    GLASS,
    GOLD,
    MAIN,
    SHADE,
    TINT,
    WOOD,
    Figure,
    Motion,
    Paint,
    Part,
    curve,
    disc,
    part,
    polygon,
    ribbon,
    seam,
)


def wheel(x: float, y: float, radius: float, hub: Paint = CREAM) -> Part:
    """A dark tyre and a spoked hub, so that turning shows."""
    r = 0.66 * radius
    return part(
        disc(DARK, x, y, radius),
        disc(hub, x, y, r, edge=False),
        ribbon(DARK, 0.25 * r, 0.25 * r, f"{x - r},{y} {x + r},{y}", edge=False),
        ribbon(DARK, 0.25 * r, 0.25 * r, f"{x},{y - r} {x},{y + r}", edge=False),
        motion=Motion(pivot=(x, y), spin=1),
    )


BOAT = Figure(
    parts=(
        part(ribbon(WOOD, 4, 3, "0,20 0,-46")),
        part(
            curve(MAIN, "6,-38! 30,-12 44,10! 6,8!"),
            seam("9,-10 26,-9"),
            motion=Motion(pivot=(3, 8), turn=3, shrink=(0.12, 0), lag=0.2),
        ),
        part(
            curve(MAIN, "-4,-43! -4,10! -28,13 -48,10! -38,-12 -20,-32"),
            seam("-7,-20 -26,-19"),
            seam("-7,-5 -37,-4"),
            motion=Motion(pivot=(-2, 10), turn=3, shrink=(0.15, 0)),
        ),
        part(
            curve(MAIN, "-54,16! 0,22 60,11! 53,27 36,42 10,46 -22,45 -41,38 -50,27"),
            curve(CREAM, "-53,20! 0,27 58,16! 56,21! 0,32 -52,25!", edge=False),
        ),
        part(
            curve(GOLD, "0,-48! 10,-46 19,-42! 10,-39 0,-38!"),
            motion=Motion(pivot=(0, -43), turn=10, shrink=(0.2, 0), beats=2),
        ),
    ),
    carry=Motion(pivot=(0, 40), turn=2.5),
)

CAR = Figure(
    parts=(
        part(
            curve(
                MAIN,
                "-72,24! -73,0 -62,-8 -48,-11 -35,-36 -22,-43 12,-43 26,-35 42,-9 64,-3 74,8 75,24! 66,29 -66,29",
            ),
            curve(GLASS, "-35,-11! -27,-29 -18,-34 -5,-34! -5,-11!", edge=False),
            curve(GLASS, "4,-11! 4,-34! 12,-34 19,-29 29,-11!", edge=False),
            seam("0,-8 0,20"),
            seam("-68,23 70,23", 3),
            ribbon(DARK, 3, 3, "-16,-1 -7,-1", edge=False),
            curve(GOLD, "73,2 66,2 64,9 68,14 75,13", edge=False),
            motion=Motion(shift=(0, 1), beats=2),
        ),
        wheel(-42, 30, 16),
        wheel(42, 30, 16),
    )
)

TRAIN = Figure(
    parts=(
        part(
            disc(CREAM, 32, -41, 7, 5),
            disc(CREAM, 20, -42, 8, 6),
            disc(CREAM, 9, -44, 5, 4),
            motion=Motion(pivot=(42, -36), shrink=(0.3, 0.3), shift=(-3, 0)),
        ),
        part(
            polygon(MAIN, "-78,2 -48,2 -48,34 -78,34"),
            curve(DARK, "-77,2! -70,-7 -62,-3 -54,-7 -49,2!"),
            seam("-76,28 -50,28", 3),
            ribbon(DARK, 5, 5, "-47,29 -38,29", edge=False),
            motion=Motion(shift=(0, 1), beats=2, lag=0.3),
        ),
        part(
            polygon(MAIN, "-38,-26 4,-26 4,34 -38,34"),
            curve(MAIN, "-44,-26! -38,-33 -18,-36 4,-33 10,-26!"),
            seam("-41,-26 7,-26", 3),
            polygon(GLASS, "-27,-18 -9,-18 -9,-2 -27,-2", edge=False),
            curve(DARK, "36,-8! 38,-24! 33,-33! 53,-33! 48,-24! 50,-8!"),
            curve(GOLD, "11,-8! 13,-19 21,-19 23,-8!"),
            curve(MAIN, "2,-11! 60,-11 68,-4 68,22 60,30 2,30!"),
            ribbon(GOLD, 3, 3, "28,-10 28,28", edge=False),
            seam("4,26 64,26", 3),
            disc(GOLD, 68, 2, 5, 6),
            polygon(DARK, "60,33 68,28 78,46 60,46"),
            motion=Motion(shift=(0, 1), beats=2),
        ),
        wheel(-70, 39, 9, MAIN),
        wheel(-55, 39, 9, MAIN),
        wheel(-20, 32, 16, MAIN),
        wheel(18, 35, 13, MAIN),
        wheel(46, 37, 11, MAIN),
    )
)

BALLOON = Figure(
    parts=(
        part(
            ribbon(WOOD, 1.5, 1.5, "-24,8 -8,38", edge=False),
            ribbon(WOOD, 1.5, 1.5, "24,8 8,38", edge=False),
            curve(WOOD, "-11,35! 11,35! 8,47 0,48 -8,47"),
            ribbon(GOLD, 3, 3, "-10,39 10,39", edge=False),
            motion=Motion(pivot=(0, 10), turn=3, lag=0.4),
        ),
        part(
            curve(
                MAIN,
                "0,-49 24,-44 39,-28 40,-8 30,8 14,24! -14,24! -30,8 -40,-8 -39,-28 -24,-44",
            ),
            curve(TINT, "0,-49! 6,-38 8,-16 6,6 3,24! -3,24! -6,6 -8,-16 -6,-38", edge=False),
            seam("-10,-46 -22,-30 -25,-12 -18,8 -9,22"),
            seam("10,-46 22,-30 25,-12 18,8 9,22"),
            ribbon(CREAM, 4, 4, "-13,23 13,23", edge=False),
        ),
    ),
    carry=Motion(pivot=(0, -20), turn=3),
)

KITE = Figure(
    parts=(
        part(
            ribbon(DARK, 2.5, 2.5, "-12,14 -21,22 -17,31 -27,38 -24,47", edge=False),
            polygon(MAIN, "-26,20 -11,28 -11,19 -26,29"),
            polygon(MAIN, "-29,34 -13,42 -13,33 -29,43"),
            motion=Motion(pivot=(-10, 14), turn=12, lag=0.1),
        ),
        part(
            polygon(MAIN, "14,-47 42,-6 -14,20 -32,-26"),
            polygon(SHADE, "20,-11 42,-6 -14,20 -6,4", edge=False),
            seam("13,-45 -13,19", 2.4),
            seam("-30,-25 40,-7", 2.4),
            disc(CREAM, 2, -16, 5, edge=False),
        ),
    ),
    carry=Motion(pivot=(0, -15), turn=4, lag=0.4),
)
