"""Things that swim, fly and walk on four legs."""

from piying.theatre.figures.paper import (
    CREAM,
    DARK,
    GOLD,
    MAIN,
    SHADE,
    TINT,
    Figure,
    Motion,
    Paint,
    Part,
    Point,
    curve,
    disc,
    eye,
    joint,
    mirror,
    part,
    polygon,
    ribbon,
    seam,
)

FISH = Figure(
    parts=(
        part(
            curve(MAIN, "-20,0 -42,-22 -62,-34! -56,-14 -48,0 -56,16 -62,34! -42,22"),
            seam("-30,-5 -54,-20", 2.25),
            seam("-30,0 -46,0", 2.25),
            seam("-30,5 -54,20", 2.25),
            motion=Motion(pivot=(-24, 0), turn=8, shrink=(0.4, 0)),
        ),
        part(
            curve(MAIN, "-18,-20 -12,-40 4,-48 20,-42! 22,-20"),
            seam("-6,-24 0,-42"),
            seam("8,-26 14,-40"),
            motion=Motion(pivot=(5, -20), shrink=(0, 0.25)),
        ),
        part(
            curve(MAIN, "-32,0 -16,-22 10,-32 36,-26 52,-10 57,3 50,16 34,28 8,32 -16,22"),
            curve(TINT, "52,12 46,20 34,28 8,32 -16,23 8,26 34,21", edge=False),
            seam("26,-24 20,0 26,20"),
            seam("6,-12 1,-5 6,2"),
            seam("-10,-8 -15,-1 -10,6"),
            ribbon(DARK, 1.8, 1.8, "54,8 46,10", edge=False),
            *eye(38, -8, 6.5),
        ),
        part(
            curve(MAIN, "12,6! 0,26 -14,32! -12,16"),
            seam("2,14 -9,27"),
            motion=Motion(pivot=(10, 8), turn=18, beats=2),
        ),
    ),
    carry=Motion(turn=3, lag=0.5),
)

BIRD = Figure(
    parts=(
        part(
            curve(SHADE, "10,-2 -2,-30 -20,-46! -24,-26 -16,0"),
            motion=Motion(pivot=(0, 0), turn=32, tilt=14),
        ),
        part(
            curve(MAIN, "-30,6 -62,0! -56,8 -64,14! -52,20 -28,20"),
            seam("-40,12 -54,11"),
            motion=Motion(pivot=(-30, 12), turn=6, lag=0.3),
        ),
        part(
            polygon(GOLD, "50,-10 70,0 48,6"),
            curve(MAIN, "-42,12 -20,-6 6,-10 20,-20 38,-24 52,-14 54,2 46,16 30,30 2,34 -24,26"),
            curve(TINT, "46,17 30,30 2,34 -18,28 6,27 28,18", edge=False),
            *eye(38, -8, 5.5),
        ),
        part(
            curve(MAIN, "16,8 14,-12 2,-34 -22,-48! -22,-38 -32,-36! -28,-24 -36,-18! -26,0 -6,12"),
            seam("2,-4 -14,-32"),
            seam("-6,0 -24,-20"),
            motion=Motion(pivot=(4, 5), turn=42, tilt=-4),
        ),
    ),
    carry=Motion(shift=(0, 3), lag=0.5),
)

_UPPER_WING = (
    curve(MAIN, "0,0 6,-20 24,-42 46,-46 54,-32 50,-12 34,2 10,6"),
    disc(TINT, 38, -30, 9, edge=False),
    disc(SHADE, 38, -30, 4.5, edge=False),
    disc(CREAM, 27, -11, 3.5, edge=False),
)
_LOWER_WING = (
    curve(MAIN, "0,2 16,4 36,8 42,24 30,40 14,42 4,24"),
    disc(TINT, 26, 24, 7.5, edge=False),
)
BUTTERFLY = Figure(
    parts=(
        part(*_LOWER_WING, *_UPPER_WING, motion=Motion(shrink=(0.45, 0))),
        part(*mirror(*_LOWER_WING, *_UPPER_WING), motion=Motion(shrink=(0.45, 0))),
        part(
            ribbon(DARK, 2, 2, "2,-24 8,-38 16,-44"),
            ribbon(DARK, 2, 2, "-2,-24 -8,-38 -16,-44"),
            ribbon(DARK, 6, 4, "0,-16 0,28"),
            disc(DARK, 0, -19, 5),
        ),
    ),
    carry=Motion(tilt=18, turn=4, shift=(0, 2)),
)


def leg(paint: Paint, hip: Point, foot: Point, lag: float, width: float, sole: Paint | None = None) -> Part:
    """A leg that tapers to `width` and ends in a paw, or in a hoof of another paint."""
    (x, y), (toe, floor) = hip, foot
    return part(
        ribbon(paint, 1.5 * width, width, f"{x},{y} {toe},{floor - width / 2}"),
        joint(x, y),
        disc(sole or paint, toe + 0.3 * width, floor - 0.4 * width, 0.8 * width, 0.4 * width),
        motion=Motion(pivot=hip, turn=24, lag=lag),
    )


CAT = Figure(
    parts=(
        part(
            ribbon(MAIN, 9, 7, "-36,6 -54,2 -58,-18 -48,-32 -52,-44"),
            motion=Motion(pivot=(-36, 6), turn=9, lag=0.3),
        ),
        leg(SHADE, (-26, 16), (-24, 48), 0.5, width=10),
        leg(SHADE, (20, 16), (22, 48), 0, width=10),
        leg(MAIN, (-32, 16), (-32, 48), 0, width=11),
        part(
            curve(MAIN, "-43,10 -36,-5 -14,-9 10,-6 30,-8 38,8 32,24 10,28 -16,26 -38,26"),
            seam("-20,-8 -18,8", 2.5),
            seam("-6,-8 -4,10", 2.5),
            seam("8,-6 10,8", 2.5),
        ),
        leg(MAIN, (26, 16), (28, 48), 0.5, width=11),
        part(
            polygon(MAIN, "16,-20 14,-49 36,-34"),
            polygon(MAIN, "42,-34 62,-49 62,-18"),
            curve(MAIN, "12,-14 20,-30 38,-35 56,-30 64,-14 58,2 38,8 18,2"),
            polygon(TINT, "19,-28 18,-41 28,-33", edge=False),
            polygon(TINT, "50,-33 58,-41 58,-27", edge=False),
            curve(CREAM, "32,-4 42,-8 52,-4 50,3 42,5 34,3", edge=False),
            disc(DARK, 32, -15, 4, 5.5, edge=False),
            disc(DARK, 52, -15, 4, 5.5, edge=False),
            polygon(DARK, "38,-8 46,-8 42,-3", edge=False),
            motion=Motion(pivot=(30, 0), turn=4, beats=2),
        ),
    ),
    carry=Motion(shift=(0, 1.2), beats=2),
)

DOG = Figure(
    parts=(
        part(
            ribbon(MAIN, 10, 5, "-40,-2 -54,-10 -60,-26"),
            motion=Motion(pivot=(-40, -2), turn=22, beats=2),
        ),
        leg(SHADE, (-26, 12), (-26, 48), 0.5, width=12),
        leg(SHADE, (18, 12), (20, 48), 0, width=12),
        leg(MAIN, (-34, 12), (-36, 48), 0, width=13),
        part(
            curve(MAIN, "-46,6 -40,-10 -16,-10 10,-12 20,-30 38,-24 40,0 34,20 12,22 -14,18 -40,24"),
        ),
        leg(MAIN, (26, 12), (27, 48), 0.5, width=13),
        part(
            curve(MAIN, "14,-30 22,-44 40,-46 50,-36! 66,-32 72,-22 66,-12 50,-8 30,-6 16,-14"),
            curve(CREAM, "56,-14 70,-20 66,-12 50,-8 38,-9", edge=False),
            disc(DARK, 69, -27, 5.5, 5, edge=False),
            *eye(44, -30, 4.5),
            ribbon(GOLD, 5, 5, "17,-8 37,-3", edge=False),
            motion=Motion(pivot=(26, -10), turn=4, beats=2, lag=0.2),
        ),
        part(
            curve(MAIN, "16,-43 26,-40 30,-24 25,-6 13,-4 7,-20 9,-35"),
            curve(SHADE, "26,-22 22,-7 13,-7 14,-18", edge=False),
            motion=Motion(pivot=(18, -38), turn=8, beats=2),
        ),
    ),
    carry=Motion(shift=(0, 1.2), beats=2),
)

HORSE = Figure(
    parts=(
        part(
            curve(DARK, "-38,-12 -50,-13 -58,0 -60,20 -66,30! -52,22 -47,6 -40,-2"),
            motion=Motion(pivot=(-40, -8), turn=12, lag=0.3),
        ),
        leg(SHADE, (-28, 6), (-22, 48), 0.45, width=9, sole=DARK),
        leg(SHADE, (16, 6), (24, 48), 0.95, width=9, sole=DARK),
        leg(MAIN, (-34, 6), (-36, 48), 0, width=10, sole=DARK),
        leg(MAIN, (24, 6), (26, 48), 0.5, width=10, sole=DARK),
        part(
            curve(MAIN, "-48,0 -42,-16 -20,-17 4,-14 20,-19 38,-12 38,8 28,20 0,20 -20,17 -40,20"),
            curve(SHADE, "-16,-17! 6,-15! 6,-4 -2,2 -12,1 -16,-5", edge=False),
            seam("-16,-16 -16,-5 -12,1 -2,2 6,-4 6,-15"),
        ),
        part(
            polygon(MAIN, "37,-42 39,-50 46,-41"),
            curve(MAIN, "8,-12 22,-24 32,-40 44,-44 54,-36 68,-24 69,-16 60,-12 48,-20 42,-6 36,6 20,4"),
            curve(DARK, "40,-46 30,-43 20,-30 10,-20 4,-10! 15,-14 23,-23 31,-36 42,-42"),
            seam("56,-32 50,-20"),
            disc(DARK, 47, -34, 2.8, edge=False),
            disc(DARK, 64.5, -19, 1.6, edge=False),
            motion=Motion(pivot=(24, -4), turn=6, lag=0.1),
        ),
    ),
    carry=Motion(turn=3, shift=(0, 1.2)),
)


DRAGON = Figure(
    parts=(
        part(
            curve(TINT, "-64,2 -78,-6! -70,-12 -79,-24! -66,-22 -60,-30! -57,-12"),
            ribbon(MAIN, 16, 8, "-46,16 -58,10 -63,-4"),
            motion=Motion(pivot=(-46, 14), turn=10, lag=0.6),
        ),
        part(
            polygon(SHADE, "-34,-10 -36,-26 -24,-14"),
            polygon(SHADE, "-48,2 -58,-6 -44,-8"),
            ribbon(MAIN, 9, 7, "-42,14 -40,28 -46,36"),
            ribbon(MAIN, 22, 16, "-14,-10 -30,-8 -38,6 -48,16"),
            seam("-25,-16 -22,-10 -25,-3"),
            seam("-42,-2 -35,2 -32,8"),
            motion=Motion(pivot=(-14, -8), turn=6, lag=0.4),
        ),
        part(
            polygon(SHADE, "-2,-10 2,-24 10,-4"),
            polygon(SHADE, "-20,-14 -16,-30 -6,-16"),
            ribbon(MAIN, 27, 23, "20,22 6,18 -2,0 -16,-10"),
            seam("-6,14 2,11 8,5"),
            seam("-14,2 -7,-3 -5,-11"),
            motion=Motion(pivot=(20, 20), turn=4, lag=0.2),
        ),
        part(
            polygon(SHADE, "26,-6 14,-6 24,6"),
            polygon(SHADE, "22,8 8,8 18,20"),
            ribbon(MAIN, 10, 8, "30,24 36,36 44,40"),
            ribbon(MAIN, 27, 28, "44,-8 36,14 20,22"),
            seam("33,0 40,5 48,5"),
            seam("24,13 29,19 31,28"),
            motion=Motion(pivot=(42, -6), turn=4),
        ),
        part(
            curve(SHADE, "40,-34 20,-40! 28,-28 14,-22! 26,-16 18,-4! 34,-6 46,-8"),
            ribbon(GOLD, 5, 3, "42,-32 34,-42 22,-46"),
            ribbon(GOLD, 5, 3, "50,-34 46,-44 38,-47"),
            curve(MAIN, "30,-20 36,-35 52,-38 60,-31 74,-33 79,-25 75,-17 58,-13! 70,-8 66,-1 50,2 36,-2"),
            ribbon(GOLD, 3, 2, "74,-18 80,-10 76,0", edge=False),
            disc(DARK, 73, -27, 2, edge=False),
            *eye(50, -25, 6),
            motion=Motion(pivot=(40, -10), turn=5, lag=0.1),
        ),
    ),
    carry=Motion(shift=(0, 2), lag=0.3),
)
