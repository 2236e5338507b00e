import pytest

from piying.prompts.vocabulary import unknown_words

WORDS = {
    "en": ["a", "the", "red", "boat", "butterfly", "fox", "girl", "on", "night city", "sails"],
    "zh": ["一艘", "红色", "的", "小船", "船", "在", "海", "海上", "漂"],
}


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("A red boat on the night city", []),
        ("a red submarine", ["submarine"]),
        ("Boats, foxes, butterflies and the girl's boat", ["and"]),
        ("the boat sail", ["sail"]),
        ("a tank, a TANK and a tank's boat", ["tank", "and", "tank's"]),
        ("一艘红色的小船在海上漂", []),
        ("一艘红色的潜水艇在海上漂", ["潜水艇"]),
        ("坦克，红色的船，坦克！", ["坦克"]),
        ("红色的 boat 在 submarine 海", ["submarine"]),
        ("7 red boats!", []),
    ],
)
def test_words_that_were_never_learned_are_named_once_in_order(prompt, unknown):
    assert unknown_words(prompt, WORDS) == unknown


def test_the_longest_known_chinese_word_is_taken_first():
    assert unknown_words("红绿灯", {"en": [], "zh": ["红", "红绿"]}) == ["灯"]


def test_a_model_that_knows_no_word_of_a_language_names_every_word():
    assert unknown_words("red 红色", {"en": [], "zh": []}) == ["red", "红色"]
