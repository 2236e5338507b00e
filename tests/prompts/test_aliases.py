import pytest

from piying.prompts.aliases import substitute

ALIASES = {"大娃": "DaWa", "大娃哥": "DaWaGe", "Big Boy": "DaWa", "ann": "Anna", "小c": "XiaoC"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("大娃", "DaWa"),
        ("大娃骑马", "DaWa 骑马"),
        ("红衣大娃,在海上", "红衣 DaWa,在海上"),
        ("大娃 rides", "DaWa rides"),
        ("大娃rides", "DaWa rides"),
        ("大娃哥和大娃", "DaWaGe 和 DaWa"),
        ("大娃大娃", "DaWa DaWa"),
        ("a big boy here", "a DaWa here"),
        ("two big boys", "two big boys"),
        ("Ann, and Annabel", "Anna, and Annabel"),
        ("骑马的ann在跑", "骑马的 Anna 在跑"),
        ("小C来了", "XiaoC 来了"),
        ("小cat", "小cat"),
        ("DaWa", "DaWa"),
        ("", ""),
    ],
)
def test_aliases_become_names(text, expected):
    assert substitute(text, ALIASES) == expected


def test_names_are_not_replaced_again_and_none_changes_nothing():
    assert substitute("a b", {"a": "b", "b": "a"}) == "b a"
    assert substitute("大娃", {}) == "大娃"
    assert substitute("1.5 or 1x5", {"1.5": "x"}) == "x or 1x5"
