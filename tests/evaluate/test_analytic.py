import pytest

from piying.evaluate import analytic
from piying.theatre.scene import Actor, Scene
from piying.theatre.stage import render

SCENES = [
    Scene(
        actors=(Actor(subject="boat", colour="red", size="small", motion="still"),),
        backdrop="sea",
        camera="pan_right",
        weather="rain",
        seed=3,
    ),
    Scene(
        actors=(Actor(subject="bird", colour="yellow", size="large", motion="circle"),),
        backdrop="forest",
        camera="zoom_out",
        light="dusk",
        style="black_and_white",
        seed=4,
    ),
]


def facts(scene):
    told = (
        ("subject", "size", "motion") if scene.style == "black_and_white" else ("subject", "colour", "size", "motion")
    )
    return {name: getattr(scene.actors[0], name) for name in told} | {"camera": scene.camera}


@pytest.fixture(scope="module")
def sights():
    clips = render(SCENES, frames=17).frames
    return analytic.look(clips, [[scene.actors[0].subject] for scene in SCENES])


@pytest.mark.parametrize("clip", [0, 1])
def test_rendered_clips_are_seen_as_they_are(sights, clip):
    told = facts(SCENES[clip])
    assert sights[clip].answers(told) == {name: value for name, value in told.items() if name != "subject"}


@pytest.mark.parametrize("clip", [0, 1])
def test_a_caption_that_tells_something_else_is_wrong(sights, clip):
    truth = facts(SCENES[clip])
    others = {"colour": "green", "size": "large", "motion": "jump", "camera": "tilt_up"}
    told = {name: others.get(name, value) for name, value in truth.items()}
    answers = sights[clip].answers(told)
    assert [name for name in answers if answers[name] == told[name]] == [
        name for name in answers if truth[name] == told[name]
    ]


def test_the_hues_tell_the_styles_apart():
    clips = render(
        [
            Scene(actors=SCENES[0].actors, backdrop="meadow", style=style, light=light, seed=5)
            for style, light in (("black_and_white", "dusk"), ("shadow", "night"), ("cartoon", "day"))
        ],
        frames=5,
    ).frames
    possible = [analytic.possible_styles(clip.permute(0, 3, 1, 2).float() / 255) for clip in clips]
    assert possible == [("black_and_white",), ("shadow", "ink"), ("paper", "cartoon", "ink")]
