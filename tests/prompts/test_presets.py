import pytest

from piying.errors import UsageError
from piying.prompts import presets
from piying.prompts.presets import compose
from piying.prompts.reader import Reader
from piying.theatre import phrases_en, phrases_zh
from piying.theatre.captions import words

LARGE = Reader("large", lambda text: [5] * len(text), 226)
NANO = Reader("nano", LARGE.encode, 64, words())
ASKED = {  # what must be there
    "style": ["卡通3D", "黑白", "油画", "电影感"],
    "mood": ["温馨", "活泼", "紧张", "凄凉"],
    "camera": ["水平", "垂直", "推近", "拉远"],
}


def said(prompt, reader, style=None, mood=None, camera=None):
    return compose(prompt, reader, style=style, mood=mood, camera=camera)


def test_every_preset_has_names_and_words_in_both_languages():
    for kind in presets.KINDS:
        entries = presets._presets()[kind].values()
        assert [entry["zh"] for entry in entries] == ASKED[kind]
        for entry in entries:
            assert entry["en"].isascii() and entry["says"]["en"].isascii()
            assert entry["says"]["en"].endswith(".") and entry["says"]["zh"].endswith("。")


def test_presets_follow_the_prompt_as_sentences():
    assert said("a red boat", LARGE, "黑白", camera="Push In") == (
        "a red boat. Black and white film without any colour, with deep blacks, many greys and a fine grain."
        " The camera slowly pushes in towards the subject."
    )
    assert said("A boat!", LARGE, mood="warm") == "A boat! The mood is warm and tender, in soft golden light."


def test_a_chinese_prompt_gets_chinese_sentences():
    assert said("小船漂", LARGE, mood="desolate") == "小船漂。气氛凄凉孤寂，天空灰白，动作稀少而缓慢。"


def test_nothing_asked_changes_nothing():
    assert said(" a boat ", LARGE) == " a boat "


def test_a_small_world_hears_its_own_words():
    assert said("a red boat sails left.", NANO, "3d cartoon", "tense", "推近") == (
        "a red boat sails left, cartoon style, it is night, fog hangs in the air, the camera zooms in"
    )
    assert said("红船向左漂。", NANO, "黑白", "凄凉", "pull out") == "红船向左漂，黑白画面，下着雨，镜头拉远"


@pytest.mark.parametrize(("language", "phrases"), [("en", phrases_en), ("zh", phrases_zh)])
def test_the_small_world_was_told_in_just_these_phrases(language, phrases):
    captions = {phrase for facts in phrases.CLAUSES.values() for telling in facts.values() for phrase in telling}
    for kind in presets.KINDS:
        for entry in presets._presets()[kind].values():
            if "small_world" in entry:
                phrase = entry["small_world"][language]
                assert all(part in captions for part in phrase.replace("，", ", ").split(", ")), phrase


def test_what_a_small_world_cannot_express_is_refused_with_what_it_can():
    with pytest.raises(UsageError, match=r"style=油画: nano never learned it; use 卡通3D \(3D cartoon\), 黑白"):
        said("a boat", NANO, "油画")
    tiny = Reader("tiny", LARGE.encode, 8, {"en": ["boat"], "zh": []})
    with pytest.raises(UsageError, match="mood=warm: tiny never learned it; leave it out"):
        said("a boat", tiny, mood="warm")


def test_an_unknown_name_is_answered_with_all():
    with pytest.raises(UsageError, match=r"camera=orbit: use one of 水平 \(horizontal\), .*拉远 \(pull out\)"):
        said("a boat", LARGE, camera="orbit")
