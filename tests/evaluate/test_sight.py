from piying.evaluate.sight import Sight

TOLD = {
    "subject": "boat",
    "colour": "red",
    "motion": "left",
    "subject2": "bird",
    "colour2": "blue",
    "motion2": "rise",
    "weather": "rain",
}


def sight(presence, actors):
    return Sight(actors, {"weather": "snow"}, presence)


def test_the_order_of_the_subjects_does_not_matter():
    actors = {"bird": {"colour": "blue", "motion": "rise"}, "boat": {"colour": "red", "motion": "left"}}
    answers = sight({"bird": 3.0, "boat": 2.0, "cat": 1.0}, actors).answers(TOLD)
    assert answers == TOLD | {"weather": "snow"}


def test_a_wrong_subject_still_has_its_colour_judged():
    actors = {"bird": {"colour": "blue", "motion": "sink"}, "cat": {"colour": "red", "motion": "left"}}
    answers = sight({"bird": 3.0, "boat": 1.0, "cat": 2.0}, actors).answers(TOLD)
    assert answers["subject"] == "cat"
    assert answers["colour"] == "red"
    assert answers["motion2"] == "sink"


def test_strangers_stand_in_by_belief():
    answers = sight({"bird": 0.0, "boat": 1.0, "cat": 2.0, "dog": 3.0}, {}).answers(TOLD)
    assert (answers["subject"], answers["subject2"]) == ("dog", "cat")


def test_a_judge_that_was_told_whom_to_look_for_has_no_word_on_the_subject():
    answers = sight(None, {"boat": {"colour": "pink"}}).answers({"subject": "boat", "colour": "red", "light": "day"})
    assert answers == {"colour": "pink"}
