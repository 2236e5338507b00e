import numpy as np
from films import shot

from piying.data import repeats as module
from piying.data.repeats import Seen, repeats
from piying.data.scores import look


def seen(name, frames, shot_name=None):
    return Seen(name, shot_name or name, np.stack([look(frame) for frame in frames]))


def clips(*numbers, frames=17):
    return [seen(f"{place}", shot(number, frames)) for place, number in enumerate(numbers)]


def test_the_second_of_two_equal_clips_is_a_repeat_of_the_first():
    assert repeats(clips(1, 2, 1, 3, 2, 1)) == {"2": "0", "4": "1", "5": "0"}


def test_a_repeat_that_begins_later_is_one_too():
    film = shot(1, 40, size=(96, 144), step=3)
    first, later = seen("first", film[:33]), seen("later", film[10:27])
    assert repeats([first, later]) == {"later": "first"}


def test_a_repeat_with_noise_and_less_light_is_one_too():
    film = shot(1, 17, size=(96, 144))
    noise = np.random.default_rng(0).normal(0, 6, film.shape)
    again = np.clip(0.9 * film + noise, 0, 255).astype(np.uint8)
    assert repeats([seen("a", film), seen("b", again)]) == {"b": "a"}


def test_parts_of_one_shot_are_no_repeats_of_each_other():
    still = shot(1, 34, step=0)
    assert repeats([seen("a", still[:17], "shot"), seen("b", still[17:], "shot")]) == {}
    assert repeats([seen("a", still[:17], "shot"), seen("b", still[17:], "another")]) == {"b": "a"}


def test_the_same_place_with_another_motion_is_no_repeat():
    """A large figure that goes the other way."""
    ground = shot(1, 17, size=(96, 144), step=0)
    right, left = ground.copy(), ground.copy()
    for f in range(17):
        for film, x in ((right, 4 + 5 * f), (left, 100 - 5 * f)):
            film[f, 20:80, x : x + 40] = (240, 240, 230)
    assert repeats([seen("a", right), seen("b", left)]) == {}


def spotted(film, places, seed):
    """With a small square of spots of its own at a place (row, column) in each frame."""
    spots = np.random.default_rng(seed).integers(0, 2, (4, 4, 1)).repeat(6, 0).repeat(9, 1) * 250
    film = film.copy()
    for frame, (row, column) in zip(film, places, strict=True):
        frame[row : row + 24, column : column + 36] = spots
    return film


def test_another_figure_before_the_same_still_camera_is_no_repeat():
    ground = shot(1, 17, size=(96, 144), step=0)
    one, other = [(24 + 2 * f, 20) for f in range(17)], [(56 - 2 * f, 20) for f in range(17)]
    assert repeats([seen("a", spotted(ground, one, 1)), seen("b", spotted(ground, other, 2))]) == {}
    assert repeats([seen("a", spotted(ground, one, 1)), seen("b", spotted(ground, one, 1))]) == {"b": "a"}


def test_the_same_opening_with_another_title_is_a_repeat():
    opening = shot(1, 17, size=(96, 144), step=3)
    a, b = (spotted(opening, [(60, 50)] * 17, seed) for seed in (1, 2))
    assert repeats([seen("a", a), seen("b", b)]) == {"b": "a"}


def test_a_picture_is_compared_with_pictures_alone():
    film = shot(1, 17)
    assert repeats([seen("film", film), seen("picture", film[:1]), seen("again", film[:1])]) == {"again": "picture"}


def test_even_walls_are_no_repeats():
    walls = [np.full((9, 48, 64, 3), shade, np.uint8) for shade in (90, 180)]
    assert repeats([seen("a", walls[0]), seen("b", walls[1])]) == {}


def test_many_clips_are_searched_for_at_once(monkeypatch):
    alike, searches = module._alike, []
    monkeypatch.setattr(module, "_alike", lambda few, many: (searches.append(len(few)), alike(few, many))[1])
    looks = np.random.default_rng(0).random((150, 3, 256)) < 0.4
    looks[149] = looks[1]
    assert repeats([Seen(str(n), str(n), look) for n, look in enumerate(looks)]) == {"149": "1"}
    assert len(searches) == 3 + 1  # two and a half blocks, and the one pair that is looked at closely
