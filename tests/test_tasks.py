"""Every task on the weights that ship. What is claimed holds for any weights that learned the theatre."""

import numpy as np
import pytest
from PIL import Image

import piying
from piying.theatre import Actor, Scene, render
from piying.video import Video

PROMPT = "A yellow balloon rises over the meadow"


@pytest.fixture(scope="module")
def nano():
    return piying.load("nano", device="cpu")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A clip of the theatre, uint8 [F H W 3], and its file."""
    scene = Scene(actors=(Actor(subject="balloon", colour="yellow", motion="rise"),), backdrop="meadow", seed=5)
    frames = render([scene], frames=49, size=(96, 144)).frames[0].numpy()
    return frames, Video(frames, 8).save(tmp_path_factory.mktemp("drawn") / "balloon.mp4")


@pytest.fixture(scope="module")
def free(nano):
    """A video of the prompt alone."""
    return nano.generate(PROMPT, seed=1, frames=9, steps=3).frames


def distance(first, second):
    return np.square(first.astype(float) - second).mean()


def test_a_first_and_a_last_image_are_where_a_video_begins_and_ends(nano, drawn, free, tmp_path):
    frames, _ = drawn
    for name, frame in (("first", frames[0]), ("last", frames[-1])):
        Image.fromarray(frame).save(tmp_path / f"{name}.png")
    images = {"image": tmp_path / "first.png", "last_image": tmp_path / "last.png"}
    bound = nano.generate(PROMPT, seed=1, frames=9, steps=3, **images).frames
    for place in (0, -1):
        assert distance(bound[place], frames[place]) < 0.4 * distance(free[place], frames[place])


def test_a_video_made_anew_is_the_more_like_it_the_weaker(nano, drawn, free):
    frames, path = drawn
    made = [
        nano.generate(PROMPT, seed=1, frames=9, steps=5, video=path, strength=strength).frames
        for strength in (0.2, 0.6)
    ]
    near, far, own = (distance(video, frames[:9]) for video in (*made, free))
    assert near < far < own
    assert near < 0.3 * own


def test_a_continued_video_goes_on_where_it_ends(nano, drawn, free):
    """The first new frame is far nearer to the last given one than that of a video of its own."""
    frames, path = drawn
    continued = nano.generate(PROMPT, seed=1, frames=33, steps=3, continues=path, clips=2).frames
    assert len(continued) == 49 + 24 + 24
    for join in (49, 73):
        assert distance(continued[join], continued[join - 1]) < 0.2 * distance(free[0], continued[join - 1])
    assert np.abs(continued[73:].mean((0, 1, 2)) - frames.mean((0, 1, 2))).max() < 25
