import random
from collections import Counter
from dataclasses import replace

import pytest

from piying.errors import UsageError
from piying.theatre.casting import HELD_OUT, SEED_BITS, draw, held_out_pairs
from piying.theatre.scene import (
    BACKDROPS,
    CAMERAS,
    COLOURS,
    LIGHTS,
    MOTIONS,
    SIZES,
    STYLES,
    SUBJECTS,
    TROUPE,
    UNSEEN_STYLES,
    WEATHERS,
    Actor,
    Scene,
)
from piying.train.seeds import training_scene


@pytest.fixture(scope="module")
def training():
    rng = random.Random(0)
    return [draw(rng) for _ in range(8_000)]


def test_the_held_out_table_is_a_ninth_of_the_pairs_and_every_value_is_held_out_for_somebody():
    assert set(HELD_OUT) == set(SUBJECTS)
    for values, kind in zip((COLOURS, BACKDROPS, MOTIONS), zip(*HELD_OUT.values(), strict=True), strict=True):
        assert set(kind) == set(values)


def test_training_shows_every_pair_but_the_held_out_ones(training):
    seen = {
        (actor.subject, value)
        for scene in training
        for actor in scene.actors
        for value in (actor.colour, scene.backdrop, actor.motion)
    }
    every = {(subject, value) for subject in SUBJECTS for value in (*COLOURS, *BACKDROPS, *MOTIONS)}
    assert every - seen == {(subject, value) for subject, values in HELD_OUT.items() for value in values}


def test_held_out_pairs_are_found_in_either_actor_and_in_the_backdrop():
    first, second = Actor(subject="cat", colour="blue"), Actor(subject="bird", colour="pink", motion="still")
    assert held_out_pairs(Scene(actors=(first,), backdrop="sea")) == [("cat", "blue")]
    assert held_out_pairs(Scene(actors=(first, second), backdrop="stage")) == [
        ("cat", "blue"),
        ("cat", "stage"),
        ("bird", "pink"),
        ("bird", "still"),
    ]


def test_held_out_scenes_show_exactly_one_held_out_pair_of_every_kind_in_turn():
    rng = random.Random(1)
    pairs = [held_out_pairs(draw(rng, "held_out")) for _ in range(3000)]
    assert {len(found) for found in pairs} == {1}
    kinds = Counter(HELD_OUT[subject].index(value) for ((subject, value),) in pairs)
    assert all(850 < count < 1150 for count in kinds.values())
    assert {pair for found in pairs for pair in found} == {(s, v) for s, values in HELD_OUT.items() for v in values}


def test_training_draws_every_value_about_equally_often(training):
    actors = [actor for scene in training for actor in scene.actors]
    for values, drawn in (
        (SUBJECTS, [actor.subject for actor in actors]),
        (COLOURS, [actor.colour for actor in actors]),
        (SIZES, [actor.size for actor in actors]),
        (MOTIONS, [actor.motion for actor in actors]),
        (BACKDROPS, [scene.backdrop for scene in training]),
        (CAMERAS, [scene.camera for scene in training]),
        (WEATHERS, [scene.weather for scene in training]),
        (LIGHTS, [scene.light for scene in training]),
        (STYLES, [scene.style for scene in training]),
    ):
        even = len(drawn) / len(values)
        assert all(0.85 * even < count < 1.15 * even for count in Counter(drawn).values()), Counter(drawn)
        assert set(drawn) == set(values)


def test_three_scenes_of_ten_have_two_actors_and_they_differ(training):
    pairs = [scene.actors for scene in training if len(scene.actors) == 2]
    assert len(pairs) / len(training) == pytest.approx(0.3, abs=0.02)
    assert all(first.subject != second.subject for first, second in pairs)


def test_most_scenes_that_nano_learns_have_two_actors():
    scenes = [training_scene(3, i) for i in range(1000)]
    assert sum(len(scene.actors) == 2 for scene in scenes) / len(scenes) == pytest.approx(0.7, abs=0.06)


def test_nano_learns_most_from_the_motions_that_are_hardest():
    counts = Counter(actor.motion for i in range(600) for actor in training_scene(0, i).actors)
    shares = {motion: counts[motion] / counts.total() for motion in MOTIONS}
    assert shares.pop("spin") == pytest.approx(3 / 12, abs=0.03)
    assert shares.pop("circle") == pytest.approx(2 / 12, abs=0.03)
    assert max(shares.values()) < 0.11


def test_the_number_of_actors_can_be_given():
    rng = random.Random(2)
    assert {len(draw(rng, actors=2).actors) for _ in range(50)} == {2}
    assert {len(draw(rng, "held_out", actors=1).actors) for _ in range(50)} == {1}


def test_a_generator_in_the_same_state_draws_the_same_scene():
    assert draw(random.Random(3)) == draw(random.Random(3))
    assert draw(random.Random(3)) != draw(random.Random(4))
    assert replace(draw(random.Random(3)), seed=0) != replace(draw(random.Random(4)), seed=0)


def test_seeds_stay_below_those_of_evaluation(training):
    assert max(scene.seed for scene in training) < 2**SEED_BITS


def test_the_troupe_plays_on_request_in_its_own_robes_and_in_unseen_styles():
    rng = random.Random(5)
    scenes = [draw(rng, cast=TROUPE, styles=UNSEEN_STYLES) for _ in range(400)]
    robes = {(actor.subject, actor.colour) for scene in scenes for actor in scene.actors}
    assert {subject for subject, _ in robes} == set(TROUPE)
    assert len(robes) == len({colour for _, colour in robes}) == len(TROUPE)
    assert {scene.style for scene in scenes} == set(UNSEEN_STYLES)
    assert {scene.backdrop for scene in scenes} == set(BACKDROPS)


def test_one_puppet_plays_alone():
    rng = random.Random(6)
    assert all(len(draw(rng, cast=("dawa",)).actors) == 1 for _ in range(20))


def test_what_a_cast_cannot_play_is_refused():
    with pytest.raises(UsageError, match="no held-out pairs"):
        draw(random.Random(0), "held_out", cast=TROUPE)
    with pytest.raises(UsageError, match="actors=2"):
        draw(random.Random(0), cast=("cat",), actors=2)
