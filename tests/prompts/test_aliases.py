import pytest

from piying.prompts.aliases import named, substitute

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


@pytest.mark.parametrize(
    ("text", "alias", "expected"),
    [
        ("サクラは走る", "サクラ", "Sakura は走る"),
        ("ｻｸﾗが走る", "ｻｸﾗ", "Sakura が走る"),
        ("さくらちゃん", "さくら", "Sakura ちゃん"),
        ("민수는 달린다", "민수", "Sakura 는 달린다"),
        ("เด็กชายวิ่ง", "เด็กชาย", "Sakura วิ่ง"),
        ("SIRMA koşuyor", "Sırma", "Sakura koşuyor"),
        ("Маша и Машаня", "маша", "Sakura и Машаня"),
    ],
)
def test_aliases_are_found_in_every_script(text, alias, expected):
    assert substitute(text, {alias: "Sakura"}) == expected and named(text, {alias: "Sakura"}) == ["Sakura"]


def test_names_are_not_replaced_again_and_none_changes_nothing():
    assert substitute("a b", {"a": "b", "b": "a"}) == "b a"
    assert substitute("大娃", {}) == "大娃"
    assert substitute("1.5 or 1x5", {"1.5": "x"}) == "x or 1x5"
