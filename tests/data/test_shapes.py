import math

import pytest

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B_I2V, COGVIDEOX_15_5B, FAMILY, NANO
from piying.data.shapes import Window, check_frames, nearest, sizes, step, windows
from piying.errors import UsageError
from piying.request import Request, resolve


def test_a_long_shot_gives_clips_to_its_end():
    assert windows(2.0, 12.5, 8, 49, 9) == [Window(2, 49), Window(2 + 49 / 8, 49)]
    assert windows(0.0, 10.0, 8, 49, 9) == [Window(0, 49), Window(49 / 8, 25)]


def test_a_shot_that_is_just_long_enough_gives_a_whole_clip():
    assert windows(0.0, 6.0, 8, 49, 9) == [Window(0, 49)]
    assert windows(0.0, 5.99, 8, 49, 9) == [Window(0, 41)]


def test_a_shot_that_is_too_short_gives_none():
    assert windows(0.0, 1.0, 8, 49, 9) == [Window(0, 9)]
    assert windows(0.0, 0.9, 8, 49, 9) == windows(0.0, 0.0, 8, 49, 9) == []


@pytest.mark.parametrize("seconds", [0.3, 1.7, 6.0, 7.7, 20.2, 61.3])
@pytest.mark.parametrize("config", [COGVIDEOX_2B, COGVIDEOX_15_5B], ids=lambda config: config.name)
def test_windows_follow_each_other_and_leave_less_than_the_shortest_clip(config, seconds):
    found = windows(3.0, seconds, config.fps, config.frames, step(config) + 1)
    frames = [window.frames for window in found]
    assert all(frame % step(config) == 1 and frame <= config.frames for frame in frames)
    assert [window.start for window in found] == pytest.approx(
        [3 + sum(frames[:n]) / config.fps for n in range(len(frames))]
    )
    assert 0 <= math.floor(seconds * config.fps) + 1 - sum(frames) < 2 * step(config) + 1


@pytest.mark.parametrize("config", FAMILY.values(), ids=lambda config: config.name)
def test_every_size_is_one_that_the_model_takes(config):
    area = config.size[0] * config.size[1]
    assert sizes(config)[0] == config.size
    for size in sizes(config):
        assert abs(size[0] * size[1] / area - 1) < 0.12
        if "text" in config.tasks:
            resolve(Request(prompt="x", size=size), config)
    assert sizes(COGVIDEOX_5B_I2V) == [(480, 720)]


@pytest.mark.parametrize("shape", [2.39, 16 / 9, 1.5, 4 / 3, 1, 3 / 4, 9 / 16])
def test_hardly_anything_is_cut_off(shape):
    height, width = nearest(shape, sizes(COGVIDEOX_2B))
    assert abs(math.log(width / height / shape)) < 0.04
    assert shape == 1 or (height > width) == (shape < 1)


def test_the_models_own_size_is_taken_for_its_own_shape():
    assert nearest(1.5, sizes(NANO)) == (96, 144) and nearest(1.52, sizes(COGVIDEOX_2B)) == (480, 720)


@pytest.mark.parametrize(("config", "frames", "example"), [(NANO, 50, 49), (NANO, 1, 9), (COGVIDEOX_15_5B, 49, None)])
def test_lengths_that_the_model_does_not_take_are_refused(config, frames, example):
    if example is None:
        check_frames(frames, config)
        with pytest.raises(UsageError, match=r"frames=41: use 16n\+1, e\.g\. 33"):
            check_frames(41, config)
    else:
        with pytest.raises(UsageError, match=rf"frames={frames}: use 8n\+1, e\.g\. {example}"):
            check_frames(frames, config)
