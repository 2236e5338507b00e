import numpy as np
import pytest
from films import shot

from piying.data.bars import Bars, Box


def inside(frames):
    bars = Bars(frames.shape[1:3])
    for frame in frames:
        bars.see(frame)
    return bars.inside()


def barred(frames, top=0, left=0, bottom=0, right=0):
    noise = np.random.default_rng(0).integers(0, 6, frames.shape, dtype=np.uint8)  # of an encoder
    framed = noise.copy()
    height, width = frames.shape[1:3]
    framed[:, top : height - bottom, left : width - right] = frames[:, top : height - bottom, left : width - right]
    return framed


def test_bars_are_taken_away_with_their_soft_edge():
    assert inside(barred(shot(1, 8), top=6, bottom=6)) == Box(7 / 48, 0, 1 - 7 / 48, 1)
    assert inside(barred(shot(1, 8), left=10, right=10)) == Box(0, 11 / 64, 1, 1 - 11 / 64)
    assert inside(barred(shot(1, 8), 3, 5, 3, 5)) == Box(4 / 48, 6 / 64, 1 - 4 / 48, 1 - 6 / 64)


def test_a_picture_without_bars_is_kept_whole():
    assert inside(shot(1, 8)) == Box()


def test_a_dark_floor_is_no_bar_and_stays_between_bars():
    assert inside(barred(shot(1, 8), bottom=12)) == Box()
    assert inside(barred(shot(1, 8), top=4, bottom=14)) == Box(5 / 48, 0, 1 - 5 / 48, 1)


def test_bars_that_are_written_on_are_part_of_the_picture():
    frames = barred(shot(1, 8), top=12, bottom=12)
    frames[3:6, 40:43, 20:40] = 255
    assert inside(frames) == Box(6 / 48, 0, 1 - 6 / 48, 1)  # the five rows below the writing, and one


def test_black_pictures_among_others_say_nothing_of_bars():
    frames = barred(shot(1, 8), top=6, bottom=6)
    assert inside(np.concatenate([frames, np.zeros_like(frames)])) == Box(7 / 48, 0, 1 - 7 / 48, 1)
    assert inside(np.zeros_like(frames)) == Box()


@pytest.mark.parametrize(
    ("box", "aspect", "found"),
    [
        (Box(), 1.0, Box(0, 0.25, 1, 0.75)),
        (Box(), 4.0, Box(0.25, 0, 0.75, 1)),
        (Box(0.25, 0, 0.75, 1), 4.0, Box(0.25, 0, 0.75, 1)),
        (Box(0.25, 0, 0.75, 1), 2.0, Box(0.25, 0.25, 0.75, 0.75)),
    ],
)
def test_the_largest_part_of_a_shape_lies_in_the_middle(box, aspect, found):
    part = box.within(aspect, 2.0)  # of a picture twice as wide as high
    assert part == found
    height, width = part.size((100, 200))
    assert width / height == pytest.approx(aspect)
