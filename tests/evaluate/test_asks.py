from pathlib import Path

import pytest

from piying.data.dataset import Clip, Dataset, Member
from piying.errors import UsageError
from piying.evaluate import asks
from piying.theatre.casting import SEED_BITS
from piying.train.tune.rehearsal import member


def dataset(*cast, captions=("paper cutout of DaWa",)):
    clips = [
        Clip(id=str(i), media="", frames=9, fps=8, size=(32, 48), sha256="", captions=(caption,))
        for i, caption in enumerate(captions)
    ]
    return Dataset(Path("ds"), tuple(clips), tuple(cast))


NINE = [member(who) for who in asks.TROUPE]


def test_more_prompts_begin_with_the_same():
    few, many = (asks.theatre(dataset(*NINE), count) for count in (5, 40))
    for kind in ("named", "plain"):
        assert few[kind] == many[kind][:5] and len(many[kind]) == 40


def test_names_stand_where_they_were_asked_for_and_nowhere_else():
    asked = asks.theatre(dataset(*NINE), 40)
    for ask in asked["named"]:
        for name in ask.names:
            one = next(one for one in NINE if one.id == name)
            assert (one.token if ask.written == "token" else one.aliases[-1]) in ask.prompt
    words = [word for one in NINE for word in (one.token, *one.aliases)]
    assert not [ask for ask in asked["plain"] if any(word in ask.prompt for word in words) or ask.names]
    assert {len(ask.names) for ask in asked["named"] if ask.kind == "pair"} == {2}
    assert {name for ask in asked["named"] if ask.kind == "named" for name in ask.names} == set(asks.TROUPE)


def test_both_kinds_tell_of_one_place_and_motion_which_training_never_drew():
    asked = asks.theatre(dataset(member("dawa")), 12)
    for named, plain in zip(asked["named"], asked["plain"], strict=True):
        for fact in ("motion", "backdrop", "light", "style"):
            assert named.told[fact] == plain.told[fact]
        assert named.scene.seed >= 2**SEED_BITS and named.told["style"] == "paper"
    assert {ask.told["subject"] for ask in asked["plain"]} >= {"boy"}  # what DaWa is one of, among others
    assert asked["named"][0].told == asked["named"][1].told and asked["named"][0].written != asked["named"][1].written


def test_a_style_is_asked_for_with_the_puppets_of_the_base():
    asked = asks.theatre(dataset(captions=("a woodcut of a cat", "一只狗，木刻")), 6)
    assert {ask.told["style"] for ask in asked["named"]} == {"woodcut"}
    assert "woodcut" not in {ask.told["style"] for ask in asked["plain"]}
    assert {ask.told["subject"] for ask in asked["named"]} <= set(asks.SUBJECTS)


def test_who_is_not_of_the_troupe_is_refused():
    with pytest.raises(UsageError, match="mia: not of the theatre"):
        asks.theatre(dataset(Member(id="mia", token="Mia")), 2)


def test_footage_is_asked_what_was_held_out_and_then_what_it_never_shows():
    mia = Member(id="mia", token="Mia", aliases=("小米",), class_word="girl")
    asked = asks.footage(dataset(mia, captions=("Mia eats an apple", "a tree", "Mia sleeps")), ["0", "1"], 4, ["mia"])
    assert asked["named"][0].prompt == "Mia eats an apple"
    assert all("小米" in ask.prompt for ask in asked["named"][1::2])
    assert all(ask.names == ("mia",) for ask in asked["named"])
    assert asked["plain"][0].prompt == "girl eats an apple"
    assert not any("Mia" in ask.prompt or "sleeps" in ask.prompt for ask in asked["plain"])
    with pytest.raises(UsageError, match="nothing can be asked"):
        asks.footage(dataset(captions=()), [], 4, [])


def test_each_of_the_cast_is_asked_for_in_both_ways_who_has_an_alias():
    cast = [Member(id=name, token=name.title(), aliases=(f"小{name}",)) for name in ("mia", "tom")]
    ann = Member(id="ann", token="Ann")
    asked = asks.footage(dataset(*cast, ann), [], 12, ["mia", "tom", "ann"])["named"]
    ways = {name: [ask.written for ask in asked if ask.names == (name,)] for name in ("mia", "tom", "ann")}
    assert ways == {"mia": ["token", "alias"] * 2, "tom": ["token", "alias"] * 2, "ann": ["token"] * 4}


def test_of_footage_each_of_the_cast_is_asked_what_was_held_out_and_what_it_never_shows():
    cast = [Member(id=name, token=name.title(), aliases=(f"小{name}",)) for name in ("mia", "tom")]
    captions = [f"{'Mia' if i < 30 else 'Tom'} does thing {i}" for i in range(60)]
    given = dataset(*cast, captions=captions), [str(i) for i in range(60)]
    asked = asks.footage(*given, 20, ["mia", "tom"])["named"]
    for name, first in (("mia", 0), ("tom", 30)):
        own = [ask for ask in asked if ask.names == (name,)]
        things = sorted(int(ask.prompt.split()[-1]) for ask in own if "thing" in ask.prompt)
        assert len(own) == 10 and len(things) == 5
        assert max(b - a for a, b in zip([first, *things], [*things, first + 30], strict=True)) <= 8
        for real in (True, False):  # whether it is written with the token or the alias does not go by what is told
            assert {ask.written for ask in own if ("thing" in ask.prompt) == real} == {"token", "alias"}
    assert len({ask.prompt for ask in asked}) == 20
    assert asks.footage(*given, 40, ["mia", "tom"])["named"][:20] == asked


def test_every_beginning_is_spread_over_all():
    assert asks.spread("abcdefgh") == list("aecgbfdh")
    assert asks.spread(()) == [] and sorted(asks.spread(range(5))) == list(range(5))


def test_of_footage_only_those_who_can_be_judged_are_asked_for():
    mia, tom = (Member(id=name, token=name.title()) for name in ("mia", "tom"))
    asked = asks.footage(dataset(mia, tom, captions=("Tom sleeps", "Mia and Tom")), ["0", "1"], 4, ["mia"])
    assert [ask.names for ask in asked["named"]] == [("mia",)] * 4
    alone = asks.footage(dataset(mia, captions=("Mia sleeps",)), ["0"], 4, [])
    assert [ask.names for ask in alone["named"]] == [("mia",)] * 4  # style, motion and copies are judged all the same
