import os

import numpy as np
import pytest
from films import shot
from PIL import Image

from piying.data import cast as casting
from piying.data.cast import Proposal, proposals
from piying.data.dataset import Clip, Member
from piying.data.lists import names_in
from piying.errors import UsageError
from piying.prompts.reader import Reader

DAWA = Member(id="dawa", token="DaWa", aliases=("大娃",), class_word="child")
LATIN = Reader("toy", lambda text: [3 if c in "abcdeDWSnakeLy " else 2 for c in text], 30)
SMALL = Reader(
    "small", lambda text: [3] * len(text), 30, {"en": ["boat", "runs", "on", "a"], "zh": ["大", "船", "在", "草地"]}
)


def clips(*captions):
    return [
        Clip(id=str(n), media=f"media/{n}.mp4", frames=9, fps=8, size=(32, 48), sha256="", captions=said)
        for n, said in enumerate(captions)
    ]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "Da Wa.PNG"
    Image.fromarray(shot(1, 1)[0]).save(path)
    return path


def test_a_member_is_added_with_a_copy_of_its_picture(tmp_path, picture):
    folder = tmp_path / "ds"
    folder.mkdir()
    cast = casting.add(folder, [], "DaWa", aliases=["大娃", "大娃"], class_word="child", references=[picture])
    assert cast == (Member(**{**vars(DAWA), "references": ("references/dawa-1.png",)}),)
    with Image.open(folder / "references" / "dawa-1.png") as copy:
        assert (np.asarray(copy) == shot(1, 1)[0]).all()


def test_more_is_said_about_a_member_by_id_or_token(tmp_path, picture):
    for name in ("dawa", "DAWA", "DaWa"):
        (member,) = casting.add(tmp_path, [DAWA], name, aliases=["Big One"], references=[picture])
        assert member.id == "dawa" and member.aliases == ("大娃", "Big One") and member.class_word == "child"
        assert member.references == ("Da Wa.PNG",)  # it lies in the folder already


def test_a_collision_changes_and_copies_nothing(tmp_path, picture):
    folder = tmp_path / "ds"
    folder.mkdir()
    with pytest.raises(UsageError, match=r"cast\.yaml: 大娃 means both dawa and erwa; take it from one"):
        casting.add(folder, [DAWA], "ErWa", aliases=["大娃"], references=[picture])
    assert os.listdir(folder) == []


def test_a_picture_that_is_none_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.png: no such file"):
        casting.add(tmp_path, [], "DaWa", references=[tmp_path / "gone.png"])


def test_a_member_is_removed_by_id_or_token(tmp_path):
    assert casting.remove(tmp_path, [DAWA], "DaWa") == casting.remove(tmp_path, [DAWA], "dawa") == ()
    with pytest.raises(UsageError, match=r"remove=erwa: not in .*cast\.yaml, which has dawa"):
        casting.remove(tmp_path, [DAWA], "erwa")


@pytest.mark.parametrize(
    ("member", "reader", "line"),
    [
        (Member(id="x", token="Xu"), LATIN, "token=Xu: toy reads it as <unk>; use other letters"),
        (Member(id="boat", token="Boat"), SMALL, "token=Boat: small knows this as a word; choose a name"),
        (Member(id="x", token="DaWa", references=("gone.png",)), LATIN, r"x refers to gone\.png, which is not there"),
    ],
)
def test_a_token_that_the_model_cannot_learn_is_refused(tmp_path, member, reader, line):
    casting.check(tmp_path, [DAWA], LATIN)
    with pytest.raises(UsageError, match=line):
        casting.check(tmp_path, [DAWA, member], reader)


def test_names_are_found_in_any_language_and_the_longest_counts():
    little = Member(id="little", token="LittleOne", aliases=("小大娃", "Da"))
    assert names_in(["dawa runs, 大娃跑"], [DAWA, little]) == ("dawa",)
    assert names_in(["小大娃在跑"], [DAWA, little]) == ("little",)
    assert names_in(["Dawas and Darts"], [DAWA, little]) == ()


def test_names_with_capitals_are_proposed_with_what_stands_beside_them():
    found = proposals(
        clips(
            ("The DaWa runs", "大娃在跑"),
            ("A boat. Then Snake Lady sings", "蛇夫人在唱"),
            ("Now the Snake Lady sings", "蛇夫人在唱"),
            ("Snake Lady and DaWa sit", "蛇夫人和大娃坐着"),
            ("Rain falls on DaWa", "雨中的大娃"),
            ("Rain falls",),
            ("Only once Peter came",),
        ),
        [],
        None,
    )
    assert found == [Proposal("DaWa", ("大娃",), 3), Proposal("Snake Lady", ("蛇夫人",), 3)]


def test_two_who_are_always_together_are_told_apart():
    said = ("DaWa and ErWa sit", "大娃和二娃坐着"), ("DaWa and ErWa run", "大娃和二娃在跑")
    assert proposals(clips(*said), [], None) == [Proposal("DaWa", ("大娃",), 2), Proposal("ErWa", ("二娃",), 2)]


def test_who_has_a_name_is_not_proposed():
    assert proposals(clips(("a DaWa runs", "大娃跑"), ("DaWa sits", "大娃坐")), [DAWA], None) == []


def test_chinese_names_alone_are_proposed_where_the_words_of_the_model_are_known():
    said = clips(("大娃在船",), ("二娃在草地",), ("大娃在草地",), ("在船大娃",), ("草地二娃",))
    assert proposals(said, [], SMALL) == [Proposal("大娃", (), 3), Proposal("二娃", (), 2)]
    assert proposals(said, [], None) == []


def test_captions_are_taken_apart_once_however_many_names_are_found(monkeypatch):
    grams, passes = casting._grams, []
    monkeypatch.setattr(casting, "_grams", lambda texts: (passes.append(texts), grams(texts))[1])
    names = [chr(0x6000 + 2 * n) + chr(0x6001 + 2 * n) for n in range(30)]
    said = clips(*[(f"{one}在{other}",) for one, other in zip(names, names[1:] + names[:1], strict=True)])
    assert {one.name for one in proposals(said, [], SMALL)} == set(names) and len(passes) == 2
