import pytest

from piying.data.dataset import Member
from piying.data.lint import lint
from piying.prompts.reader import Reader

CAST = [
    Member(id="dawa", token="DaWa", aliases=("大娃",), class_word="child"),
    Member(id="erwa", token="ErWa", aliases=("二娃",), class_word="child"),
]
LATIN = Reader("toy", lambda text: [3 if c.isascii() else 2 for c in text if c != " "], 30)


def advice(*captions, place="", reader=None):
    return lint(captions, CAST, reader, place)


@pytest.mark.parametrize(
    "captions",
    [("DaWa runs over the meadow",), ("DaWa runs", "大娃在跑"), ("a red boat", "红船"), ("dawa and ErWa run",)],
)
def test_captions_without_fault_are_passed(captions):
    assert advice(*captions) == []


@pytest.mark.parametrize(
    ("captions", "place", "line"),
    [
        ((), "", "no caption"),
        (("DaWa runs", "二娃和大娃在跑"), "", '"DaWa runs" lacks ErWa'),
        (("a meadow",), "footage/dawa_01.mp4", '"a meadow" lacks DaWa'),
        (("a meadow",), "素材/大娃 1.mp4", '"a meadow" lacks DaWa'),
        (("A child runs",), "", '"A child runs" says child and nobody\'s name'),
        (
            ("DaWa in a red robe runs",),
            "",
            '"DaWa in a red robe runs" tells of "red robe", which the name should carry',
        ),
        (("DaWa wearing gold runs",), "", '"DaWa wearing gold runs" tells of "wearing", which the name should carry'),
        (("大娃穿着红衣服",), "", '"大娃穿着红衣服" tells of "穿着", which the name should carry'),
    ],
)
def test_a_fault_is_told(captions, place, line):
    assert advice(*captions, place=place) == [line]


def test_looks_may_be_told_of_whom_nobody_names():
    assert advice("a boat with red sails", "a horse wearing a hat") == []


def test_tokens_are_counted_with_names_in_the_place_of_aliases():
    assert advice("大娃", reader=LATIN) == []
    assert advice("大娃在跑", reader=LATIN) == ['"大娃在跑": toy cannot read 在跑']
    long = "DaWa walks on, and it rains on, ab"
    assert advice(long, reader=LATIN) == []
    assert advice(long + " cd e", reader=LATIN) == [f'"{long} cd e" has 31 tokens, toy reads 30']
    (line,) = advice(3 * long, reader=LATIN)
    assert line.startswith(f'"{(3 * long)[:39]}…" has ')
