import random
from dataclasses import replace

import pytest

from piying.evaluate import nano, tally
from piying.evaluate.prompts import prompts
from piying.evaluate.sight import ACTOR, ATTRIBUTES, SCENE, SUBJECTS, Sight

CASES = prompts(240)


def seen(case, **changed):
    """What a perfect judge sees, but for what is changed of the first actor and of the scene."""
    scene = case.scene
    actors = {actor.subject: {name: getattr(actor, name) for name in ACTOR} for actor in scene.actors}
    facts = {name: getattr(scene, name) for name in SCENE}
    first = actors[scene.actors[0].subject]
    first |= {name: value for name, value in changed.items() if name in ACTOR}
    facts |= {name: value for name, value in changed.items() if name in SCENE}
    presence = dict.fromkeys(SUBJECTS, 0.0) | {actor.subject: 1.0 for actor in scene.actors}
    return Sight({subject: first for subject in SUBJECTS} | actors, facts, presence, True)


def judged(cases, look=seen):
    return [tally.Judged(case, {"detectors": look(case)}) for case in cases]


def by_name(clips, rendered=None):
    return {row.promise.name: row for row in tally.measures(clips, judged(CASES) if rendered is None else rendered)}


def test_perfect_clips_keep_every_promise():
    rows = by_name(judged(CASES))
    assert all(row.met is not False for row in rows.values())
    assert rows["everything in a one-subject prompt right"].estimates["detectors"].trials == 160
    assert rows["two subjects, each with its colour and motion"].estimates["detectors"].trials == 80


def test_both_languages_of_a_scene_are_one_trial():
    wrong = {case.scene.seed for case in CASES[::8]}
    clips = judged(CASES, lambda case: seen(case, light="day" if case.scene.seed in wrong else case.scene.light))
    both = by_name(clips)["light right"].estimates["detectors"]
    once = tally.accuracies(tally.alone(clips)[::2], "detectors")["light"]
    assert 0 < both.value < 1 and both.trials == 2 * once.trials
    assert (both.value, both.low, both.high) == pytest.approx((once.value, once.low, once.high), abs=5e-3)


def test_captions_of_other_clips_score_like_chance():
    found = tally.accuracies(tally.shuffled(judged(CASES)), "detectors")
    for name, values in ATTRIBUTES.items():
        assert found[name].low < 2 / len(values)
        assert found[name].value < 0.75


def test_one_wrong_fact_spoils_the_whole_prompt():
    wrong = judged(CASES, lambda case: seen(case, weather="rain" if case.scene.weather != "rain" else "snow"))
    rows = by_name(wrong)
    assert rows["weather right"].estimates["detectors"].value == 0
    assert rows["colour right"].estimates["detectors"].value == 1
    everything = rows["everything in a one-subject prompt right"].estimates["detectors"].value
    left_open = [case for case in CASES if case.group != "two" and "weather" not in case.told]
    assert everything == len(left_open) / 160
    assert rows["two subjects, each with its colour and motion"].estimates["detectors"].value == 1


def test_a_language_that_falls_behind_shows():
    chance = random.Random(0)

    def look(case):
        return seen(case, light="day" if case.language == "zh" and chance.random() < 0.3 else case.scene.light)

    row = by_name(judged(CASES, look))["Chinese and English apart, worst attribute"]
    assert row.estimates["detectors"].value > 0.05
    assert row.met is False


def test_held_out_compositions_that_fall_behind_show():
    clips = judged(CASES, lambda case: seen(case, style="ink" if case.group == "held_out" else case.scene.style))
    row = by_name(clips)["held-out compositions behind seen ones"]
    assert row.estimates["detectors"].value > 0.5
    assert row.met is False


def test_a_judge_that_fails_on_rendered_clips_does_not_decide():
    def two_judges(good, poor):
        return [tally.Judged(case, {"detectors": good(case), "analytic": poor(case)}) for case in CASES]

    def still(case):
        return replace(seen(case, motion="still"), presence=None, steady=None)

    row = by_name(two_judges(seen, still), two_judges(seen, still))["motion right"]
    assert row.estimates["analytic"].value < 0.3
    assert row.counted == ("detectors",)
    assert row.met
    row = by_name(two_judges(seen, still), two_judges(seen, seen))["motion right"]
    assert row.counted == ("detectors", "analytic")
    assert row.met is False
    assert tally.agreement(two_judges(seen, still))["motion"].value < 0.6
    assert "subject" not in tally.agreement(two_judges(seen, still))
    assert tally.agreement([tally.Judged(case, {"analytic": seen(case)}) for case in CASES]) == {}


def test_a_confusion_counts_every_answer():
    clips = judged(CASES, lambda case: seen(case, backdrop="sea"))
    counts = tally.confusion(clips, "detectors")["backdrop"]
    told = [case for case in CASES if case.told.get("backdrop") == "forest"]
    assert counts["forest"] == dict.fromkeys(counts["forest"], 0) | {"sea": len(told)}


def test_nothing_made_is_nothing_met():
    rows = by_name([])
    assert rows["subject right"].met is False
    assert rows["light right"].met is None


@pytest.mark.parametrize("steady", [True, False])
def test_identity_is_the_share_of_steady_clips(steady):
    clips = judged(CASES, lambda case: replace(seen(case), steady=steady))
    assert by_name(clips)["the same subject and colour from start to end"].estimates["detectors"].value == steady


def test_faults_are_told_of_what_the_first_judge_sees_and_of_nothing_else():
    case = next(case for case in CASES if case.group == "seen" and {"subject", "motion"} <= case.told.keys())
    other = next(motion for motion in ACTOR["motion"] if motion != case.told["motion"])
    blind = replace(seen(case, motion=other), presence=None, steady=None)
    assert nano._faults(tally.Judged(case, {"analytic": blind})) == f"motion {other}, not {case.told['motion']}"
    assert nano._faults(tally.Judged(case, {"analytic": seen(case)})) == ""
