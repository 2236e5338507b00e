"""Rendered clips, looked at by the judge of the troupe."""

import torch
import torch.nn.functional as F

from piying.evaluate import troupe
from piying.theatre.scene import Actor, Scene
from piying.theatre.stage import render

RED = Actor(subject="dawa", colour="red", motion="rise")
GREY = Scene(actors=(Actor(subject="sanwa", colour="yellow"),), backdrop="sea", style="black_and_white", seed=3)


def seen(scene, told, blur=False):
    clip = render([scene], frames=9).frames
    if blur:
        small = F.avg_pool2d(clip[0].permute(0, 3, 1, 2).float(), 2)
        clip = F.interpolate(small, scale_factor=2, mode="bilinear").round().byte().permute(0, 2, 3, 1)[None]
    return troupe.look(clip, [told], [scene.style])[0]


def test_a_child_is_known_by_name_and_motion_also_when_it_is_blurred():
    found = seen(Scene(actors=(RED,), backdrop="meadow", seed=1), ["dawa"], blur=True)
    assert (found.cast, found.motions) == (("dawa",), ("rise",))
    assert all(2 * belief < found.beliefs["dawa"] for name, belief in found.beliefs.items() if name in troupe.RIVALS)
    assert len(found.beliefs) == troupe.FINALISTS


def test_where_there_is_no_colour_the_lantern_tells():
    assert seen(GREY, ["dawa"]).cast == ("sanwa",)


def test_the_base_s_own_puppets_are_none_of_the_troupe():
    scene = Scene(actors=(Actor(subject="boy", colour="red"),), backdrop="sea", seed=4)
    assert seen(scene, ["dawa"]).cast == ("boy",)


def test_an_empty_stage_shows_nobody():
    noise = torch.randint(96, 160, (1, 9, 96, 144, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert troupe.look(noise, [["dawa"]], ["paper"])[0].cast == (troupe.NOBODY,)
