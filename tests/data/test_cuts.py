import json
import random
from itertools import pairwise

import numpy as np
import pytest
from films import shot
from PIL import Image

from piying.data.cuts import LOOK, Shots, glance
from piying.data.footage import Footage
from piying.theatre.episodes import film, plan


def shots(frames, fps=16):
    seen = Shots()
    for i, frame in enumerate(frames):
        seen.see(i / fps, np.asarray(Image.fromarray(frame).resize(LOOK[::-1], Image.Resampling.BOX)))
    return seen.shots()


def test_hard_cuts_are_found_where_they_are():
    lengths = [30, 7, 12, 40, 3, 25]
    frames = np.concatenate([shot(n, length) for n, length in enumerate(lengths)])
    assert shots(frames) == list(pairwise(np.cumsum([0, *lengths])))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_film_of_a_few_pictures_is_one_shot(count):
    assert shots(shot(1, count)) == [(0, count)]


def test_a_shot_that_moves_fast_is_one_shot():
    ground = shot(1, 1, size=(48, 600))[0]
    assert shots(np.stack([ground[:, 8 * f : 8 * f + 64] for f in range(60)])) == [(0, 60)]


def test_a_flash_is_no_cut():
    frames = shot(1, 40)
    frames[20:22] = 255
    frames[20:22, 0, 0] = 0  # a picture all of one colour would part the shot
    frames[20:22, :4, :20] = 120
    assert shots(frames) == [(0, 40)]


def test_pictures_on_twos_hide_no_cut_and_make_none():
    """Drawn films show each picture two or three times."""
    frames = np.concatenate([shot(1, 20, step=3).repeat(3, 0), shot(2, 20, step=3).repeat(3, 0)])
    assert shots(frames, fps=24) == [(0, 60), (60, 120)]


def test_a_fade_through_black_parts_two_shots_and_belongs_to_neither():
    fade = np.concatenate([np.linspace(1, 0, 12), np.zeros(6), np.linspace(0, 1, 12)])
    frames = np.concatenate([shot(1, 30 + 12), np.zeros((6, 48, 64, 3), np.uint8), shot(2, 12 + 30)])
    frames[30:60] = (frames[30:60] * fade[:, None, None, None]).astype(np.uint8)
    (first, first_end), (second, end) = shots(frames)
    assert first == 0 and end == len(frames)
    assert 38 <= first_end <= 43 and 47 <= second <= 52


def test_a_gap_in_the_time_stamps_is_a_cut():
    seen = Shots()
    for i, frame in enumerate(shot(1, 40)):
        seen.see(i / 16 + 120 * (i >= 20), np.asarray(Image.fromarray(frame).resize(LOOK[::-1])))
    assert seen.shots() == [(0, 20), (20, 40)]


def test_a_film_that_is_black_is_one_shot():
    assert shots(np.zeros((20, 48, 64, 3), np.uint8)) == [(0, 20)]


def test_difference_is_none_for_the_same_and_grows_with_light_and_place():
    a, lighter, b = (glance(picture) for picture in (shot(1, 1)[0], shot(1, 1)[0] + 2, shot(2, 1)[0]))
    assert a.unlike(a) == 0
    assert 0 < a.unlike(lighter) < 0.05 < a.unlike(b) <= 1


def test_the_cuts_of_the_theatre_are_found(tmp_path):
    rng = random.Random(5)
    (episode,) = plan(1, 0, 6, seed=rng.randrange(100))
    path = film(episode, tmp_path, (48, 72))
    seen, times = Shots(), []
    for picture in Footage(path).pictures():
        times.append(picture.time)
        seen.see(picture.time, picture.rgb(LOOK))
    begins = [times[first] for first, _ in seen.shots()]
    known = [entry["start"] for entry in json.loads(path.with_suffix(".json").read_text())]
    assert np.allclose(begins, known, atol=1e-3)
