"""The troupe that no base model has seen: seven lantern children, an old man and a snake lady."""

from piying.theatre.figures.paper import (
    CREAM,
    DARK,
    GOLD,
    HAIR,
    MAIN,
    SHADE,
    SKIN,
    TINT,
    WOOD,
    Figure,
    Motion,
    Shape,
    curve,
    disc,
    joint,
    part,
    polygon,
    ribbon,
    seam,
)
from piying.theatre.figures.people import arm, face, leg

Shapes = tuple[Shape, ...]

# lanterns stand on the head, about (0, -38), with a light inside; emblems lie on the robe, about (2, 10)
ROUND = (
    disc(GOLD, 0, -38, 15, 11),
    disc(CREAM, 0, -38, 6, 9, edge=False),
    polygon(DARK, "-6,-51 6,-51 6,-47 -6,-47"),
)
DRUM = (
    polygon(GOLD, "-10,-50 10,-50 10,-26 -10,-26"),
    polygon(CREAM, "-4,-44 4,-44 4,-31 -4,-31", edge=False),
    polygon(DARK, "-12,-52 12,-52 12,-47 -12,-47"),
)
STAR = (
    polygon(GOLD, "0,-54 4,-43 16,-43 7,-35 11,-24 0,-31 -11,-24 -7,-35 -16,-43 -4,-43"),
    disc(CREAM, 0, -38, 4.5, edge=False),
)
LOTUS = (
    curve(GOLD, "-19,-42! -8,-40 -1,-28! -13,-29"),
    curve(GOLD, "19,-42! 13,-29 1,-28! 8,-40"),
    curve(GOLD, "-12,-50! -2,-42 3,-28! -8,-34"),
    curve(GOLD, "12,-50! 8,-34 -3,-28! 2,-42"),
    curve(CREAM, "0,-50! 6,-38 0,-28! -6,-38", edge=False),
)
DIAMOND = (polygon(GOLD, "0,-54 15,-39 0,-24 -15,-39"), polygon(CREAM, "0,-46 7,-39 0,-32 -7,-39", edge=False))
MOON = (
    curve(GOLD, "10,-52! -8,-51 -15,-38 -8,-26 10,-25! 1,-31 -1,-38 1,-46"),
    disc(CREAM, -8, -38, 3.5, 6, edge=False),
)
PAGODA = (
    polygon(GOLD, "-10,-38 10,-38 10,-26 -10,-26"),
    polygon(CREAM, "-4,-36 4,-36 4,-29 -4,-29", edge=False),
    curve(DARK, "0,-54! 6,-43 19,-38! 0,-36 -19,-38! -6,-43"),
)

SUN = (disc(CREAM, 2, 10, 7, edge=False),)
MOUNTAIN = (polygon(CREAM, "-7,16 -1,4 2,9 5,5 11,16", edge=False),)
LEAF = (curve(CREAM, "8,1! 9,11 1,16! -4,9", edge=False), seam("-4,19 6,5", 1.6))
WAVE = (
    ribbon(CREAM, 3.5, 3.5, "-7,8 -3,4 2,8 7,4 11,8", edge=False),
    ribbon(CREAM, 3.5, 3.5, "-7,15 -3,11 2,15 7,11 11,15", edge=False),
)
PEARLS = tuple(disc(CREAM, x, y, 3.6, edge=False) for x, y in ((-4, 4), (8, 4), (2, 15)))
CROSS = (polygon(CREAM, "-1,3 5,3 5,7 9,7 9,13 5,13 5,17 -1,17 -1,13 -5,13 -5,7 -1,7", edge=False),)
HEART = (curve(CREAM, "2,19! -7,9 -6,2 -1,2 2,6! 5,2 10,2 11,9", edge=False),)


def lantern_child(lantern: Shapes, emblem: Shapes) -> Figure:
    return Figure(
        parts=(
            arm(SHADE, (10, -4), (27, 12), 0),
            leg(SHADE, (8, 24), 0, width=15),
            leg(MAIN, (-7, 24), 0.5, width=16),
            part(
                curve(MAIN, "-12,-10! 12,-10! 22,6 32,33! 0,37 -32,33! -22,6"),
                ribbon(GOLD, 3, 3, "-28,29 0,33 28,29", edge=False),
                *emblem,
            ),
            part(
                *lantern, disc(HAIR, -3, -19, 12, 10), *face(2, -16, 11), motion=Motion(pivot=(0, -8), turn=4, beats=2)
            ),
            arm(MAIN, (-13, -3), (-26, 14), 0.5, width=12),
        ),
        carry=Motion(shift=(0, 1), beats=2),
    )


DAWA = lantern_child(ROUND, SUN)
ERWA = lantern_child(DRUM, MOUNTAIN)
SANWA = lantern_child(STAR, LEAF)
SIWA = lantern_child(LOTUS, WAVE)
WUWA = lantern_child(DIAMOND, PEARLS)
LIUWA = lantern_child(MOON, CROSS)
QIWA = lantern_child(PAGODA, HEART)

GRANDPA = Figure(
    parts=(
        part(
            ribbon(WOOD, 4, 3.5, "24,-36 32,-34 31,-24 30,0 29,47"),
            disc(SKIN, 30, 6, 5),
            ribbon(SHADE, 11, 14, "4,-8 14,0 24,5"),
            motion=Motion(pivot=(2, -10), turn=5, lag=0.2),
        ),
        part(disc(DARK, 12, 45, 9, 4), motion=Motion(shift=(4, 0))),
        part(disc(DARK, -8, 45, 9, 4), motion=Motion(shift=(-4, 0))),
        part(
            curve(MAIN, "6,-20! -10,-22 -22,-12 -22,6 -30,42! 0,46 24,42! 18,10 14,-10"),
            seam("-14,4 -16,40"),
            ribbon(SHADE, 5, 5, "-21,12 -4,16 17,12", edge=False),
        ),
        part(
            *face(10, -32, 13),
            curve(CREAM, "-2,-40! -6,-30 0,-20! 3,-28 2,-36", edge=False),
            ribbon(CREAM, 3, 2, "7,-39 13,-39", edge=False),
            ribbon(CREAM, 3, 2, "17,-39 22,-37", edge=False),
            curve(CREAM, "1,-24! 10,-28 22,-25! 21,-8 14,10! 6,-4"),
            motion=Motion(pivot=(4, -18), turn=4, beats=2),
        ),
        part(
            disc(SKIN, 10, 10, 5),
            ribbon(MAIN, 12, 15, "-12,-8 -10,4 4,9"),
            joint(-12, -8),
            motion=Motion(pivot=(-12, -8), turn=6),
        ),
    ),
    carry=Motion(pivot=(0, 46), turn=1.5),
)

SNAKE_LADY = Figure(
    parts=(
        part(
            ribbon(MAIN, 17, 4, "-20,40 -42,40 -54,28 -50,14 -58,6"),
            seam("-34,36 -36,44"),
            seam("-44,32 -50,38"),
            motion=Motion(pivot=(-24, 40), turn=8, lag=0.3),
        ),
        part(
            ribbon(MAIN, 24, 19, "2,2 10,18 20,30 6,40 -24,40"),
            ribbon(TINT, 6, 5, "9,6 17,18 26,30 20,38", edge=False),
            seam("2,22 9,15"),
            seam("8,32 14,24"),
            seam("-8,34 -8,46"),
            motion=Motion(pivot=(0, 40), shift=(1, 0), lag=0.1),
        ),
        part(
            ribbon(SHADE, 8, 14, "6,-14 20,-8 32,-14"),
            disc(SKIN, 35, -17, 4),
            motion=Motion(pivot=(6, -14), turn=10, lag=0.5),
        ),
        part(
            curve(MAIN, "-10,-20! 10,-20! 14,-4 16,10 -12,12 -11,-4"),
            ribbon(GOLD, 3, 3, "-10,2 13,1", edge=False),
            motion=Motion(pivot=(2, 10), turn=3),
        ),
        part(
            curve(HAIR, "-10,-30 -8,-41 2,-44 13,-38 13,-26 -6,-8 -15,-2! -9,-15"),
            curve(HAIR, "-4,-42 -10,-50 0,-53 8,-49 6,-42"),
            *face(4, -30, 11),
            curve(HAIR, "-8,-28! -8,-40 6,-43 14,-34! 4,-37", edge=False),
            ribbon(GOLD, 2.5, 2.5, "-14,-50 14,-44"),
            motion=Motion(pivot=(2, -18), turn=4),
        ),
        part(
            ribbon(MAIN, 10, 18, "-6,-14 -17,-4 -13,8"),
            disc(SKIN, -10, 13, 4),
            joint(-6, -14),
            motion=Motion(pivot=(-6, -14), turn=10),
        ),
    ),
)
