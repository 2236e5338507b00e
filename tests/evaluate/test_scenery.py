from types import SimpleNamespace

import pytest
import torch

from piying.evaluate import scenery
from piying.theatre.scene import Actor, Scene
from piying.theatre.stage import render


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setattr(scenery, "reconstruct", lambda vae, clips: clips ^ 1)
    vae = SimpleNamespace(parameters=lambda: iter([torch.zeros(2)]))
    return scenery.learn(vae, tmp_path, "cpu", drawn=16, through=4)


def test_scenes_that_were_drawn_are_known_again(places, tmp_path):
    dice = scenery.random.Random("scenery")
    scenes = [scenery._scene(dice) for _ in range(16)]
    found = places.look(render(scenes[:6], frames=scenery.FRAMES).frames)
    assert found == [{fact: getattr(scene, fact) for fact in scenery.FACTS} for scene in scenes[:6]]
    assert len(places.answers["style"]) == 20  # and four of them through the autoencoder
    assert len(list(tmp_path.glob("scenery-*.safetensors"))) == 1


def test_what_was_kept_is_not_drawn_again(places, tmp_path, monkeypatch):
    monkeypatch.setattr(scenery, "draw_ahead", None)
    vae = SimpleNamespace(parameters=lambda: iter([torch.zeros(2)]))
    again = scenery.learn(vae, tmp_path, "cpu", drawn=16, through=4)
    assert torch.equal(again.references["marks"], places.references["marks"])


def test_marks_are_shares_of_a_clip_of_any_length():
    scene = Scene(actors=(Actor(subject="cat", colour="red"),), seed=1)
    for frames in (1, 9):
        marks = scenery.views(render([scene], frames=frames).frames)["marks"]
        assert marks.square().sum() == pytest.approx(1 + len(scenery.SCALES))
