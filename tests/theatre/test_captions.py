import os
import random
import re
import subprocess
import sys

import pytest

from piying.evaluate.prompts import prompts
from piying.prompts.vocabulary import unknown_words
from piying.theatre import phrases_en, phrases_zh
from piying.theatre.captions import caption, primer, tell, words
from piying.theatre.casting import SEED_BITS, draw, held_out_pairs
from piying.theatre.english import participle
from piying.theatre.facts import COLOURLESS, choose, facts
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

TABLES = {"en": phrases_en, "zh": phrases_zh}


@pytest.fixture(scope="module", params=["en", "zh"])
def said(request):
    """The language, and 3,000 scenes with a caption of each."""
    rng = random.Random(0)
    scenes = [draw(rng, "any") for _ in range(3000)]
    return request.param, [(scene, caption(scene, request.param, rng)) for scene in scenes]


def slots(phrase):
    """A pattern of a table's phrase with anything in its slots."""
    return re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(phrase)))


def test_what_is_told_is_true_and_never_nothing(said):
    for scene, it in said[1]:
        assert it.told
        assert it.told.items() <= facts(scene).items()


def test_facts_are_those_of_the_scene():
    boat = Actor(subject="boat", colour="red", size="small", motion="left")
    dawa = Actor(subject="dawa", colour="red", size="large", motion="jump")
    scene = Scene(actors=(boat, dawa), backdrop="sea", camera="zoom_in", weather="rain", light="dusk", style="ink")
    assert facts(scene) == {
        "subject": "boat",
        "colour": "red",
        "size": "small",
        "motion": "left",
        "subject2": "dawa",
        "size2": "large",
        "motion2": "jump",
        "backdrop": "sea",
        "camera": "zoom_in",
        "weather": "rain",
        "light": "dusk",
        "style": "ink",
    }


def test_a_colour_that_cannot_be_seen_is_not_told(said):
    assert set(COLOURLESS) == {"black_and_white", "shadow"}
    for scene, it in said[1]:
        assert scene.style not in COLOURLESS or "colour" not in it.told


def test_two_actors_are_both_named_and_both_moved_or_neither(said):
    for scene, it in said[1]:
        if len(scene.actors) == 2:
            assert ("subject" in it.told) == ("subject2" in it.told)
            assert ("motion" in it.told) == ("motion2" in it.told)
            assert "subject" in it.told or not {"colour", "size", "motion"} & it.told.keys()


def test_english_names_the_told_subjects_and_colours_and_no_others(said):
    language, pairs = said
    for _, it in pairs if language == "en" else ():
        for key, values in (("subject", SUBJECTS), ("colour", COLOURS)):
            words_of = phrases_en.NOUNS if key == "subject" else phrases_en.COLOURS
            text = it.text.replace("black and white", "").replace("Black and white", "")
            named = {v for v in values if re.search(rf"\b({'|'.join(words_of[v])})\b", text, re.IGNORECASE)}
            assert named == {it.told[n] for n in (key, key + "2") if n in it.told}, it.text


def test_chinese_names_the_told_subjects_and_colours(said):
    language, pairs = said
    for _, it in pairs if language == "zh" else ():
        for n in ("", "2"):
            if "subject" + n in it.told:
                assert any(noun in it.text for noun in phrases_zh.NOUNS[it.told["subject" + n]]), it.text
            if "colour" + n in it.told:
                colour = it.told["colour" + n]
                assert any(word in it.text for word in (*phrases_zh.COLOURS[colour], phrases_zh.TINTS[colour])), it.text


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    ("key", "values"),
    [("backdrop", BACKDROPS), ("weather", WEATHERS), ("light", LIGHTS), ("camera", CAMERAS), ("style", STYLES)],
)
def test_a_fact_of_the_scene_is_said_in_a_phrase_of_its_own_value(language, key, values):
    tables = TABLES[language]
    rng = random.Random(1)
    for value in values:
        sources = (tables.ADVERBS, tables.CLAUSES, tables.KEYWORDS, getattr(tables, "MEANWHILE", {}))
        own = [phrase for source in sources for phrase in source.get(key, {}).get(value, ())]
        own += tables.PLACES.get(value, ()) if key == "backdrop" else ()
        if key == "style":
            own += getattr(tables, "PICTURES", {}).get(value, ())
            own += [tables.PAPER] if value == "paper" else []
        own += [tables.FOLLOWS[value]] if value in tables.FOLLOWS else []
        for _ in range(60):
            told = {"subject": "cat", "motion": rng.choice(MOTIONS), key: value}
            text = tell(told, language, rng).lower()
            bare = [re.sub("^(a|an|the) ", "", phrase.lower()) for phrase in own]
            assert any(slots(phrase).search(text) for phrase in bare), (told, text)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_motion_and_a_size_are_said_in_phrases_of_their_own_value(language):
    tables = TABLES[language]
    rng = random.Random(9)
    for motion in MOTIONS:
        own = [*tables.MOTIONS[motion], *(phrase for _, more in tables.FURTHER for phrase in more.get(motion, ()))]
        if language == "en":
            own += [participle(phrase) for phrase in own if not phrase.startswith("{")]
        for size in SIZES:
            for subject in SUBJECTS:
                text = tell({"subject": subject, "motion": motion, "size": size}, language, rng).lower()
                sizes = [*tables.SIZES[size], *(phrases_zh.PREFIXES[size], *phrases_zh.STATURES[size])]
                assert any(slots(phrase).search(text) for phrase in own), text
                assert any(word in text for word in sizes), text


def test_left_and_right_are_never_confused():
    for tables, sides in ((phrases_en, ("left", "right")), (phrases_zh, ("左", "右"))):
        for value, side in zip(("left", "right", "pan_left", "pan_right"), sides * 2, strict=True):
            phrases = [*tables.MOTIONS.get(value, ()), *tables.CLAUSES["camera"].get(value, ())]
            phrases += [*tables.KEYWORDS["camera"].get(value, ()), tables.FOLLOWS.get(value, side)]
            assert {re.findall("|".join(sides), phrase)[-1] for phrase in phrases} == {side}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_each_of_two_actors_has_its_own_colour_and_motion(language):
    rng = random.Random(10)
    told = {"subject": "dog", "colour": "blue", "motion": "left"}
    told |= {"subject2": "bird", "colour2": "green", "motion2": "right"}
    order = r"blue.*dog.*\bleft.*green.*bird.*\bright" if language == "en" else "蓝.*狗.*左.*绿.*鸟.*右"
    assert all(re.search(order, tell(told, language, rng).lower()) for _ in range(200))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_synonym_of_every_value_is_used(language):
    tables = TABLES[language]
    rng = random.Random(2)
    cast, styles = (*SUBJECTS, *TROUPE), (*STYLES, *UNSEEN_STYLES)
    said = "\n".join(caption(draw(rng, "any", cast=cast, styles=styles), language, rng).text for _ in range(9_000))
    said = said.lower()

    def leaves(tree):
        if isinstance(tree, str):
            yield from filter(None, re.split(r"\{\w+\}", tree))
        else:
            for branch in tree.values() if isinstance(tree, dict) else tree:
                yield from leaves(branch)

    assert [phrase for phrase in leaves(tables.LEXICON) if phrase.lower().strip() not in said] == []


def test_every_value_has_words_in_both_languages():
    for tables in TABLES.values():
        assert set(tables.NOUNS) == {*SUBJECTS, *TROUPE}
        assert set(tables.COLOURS) == set(COLOURS)
        assert set(tables.SIZES) == set(SIZES)
        assert set(tables.MOTIONS) == set(MOTIONS)
        assert set(tables.STYLES) == {*STYLES, *UNSEEN_STYLES}
        for key, values in (("backdrop", BACKDROPS), ("weather", WEATHERS), ("light", LIGHTS), ("camera", CAMERAS)):
            assert set(tables.CLAUSES[key]) == set(tables.KEYWORDS[key]) == set(values)


def test_no_text_has_a_brace_a_double_space_or_a_doubled_mark(said):
    for _, it in said[1]:
        assert not re.search(r"[{}]|  |^\s|\s$|[,;:.，。；：、]{2}|^[,;:.，。；：、]", it.text), it.text


def test_english_articles_fit_their_words(said):
    language, pairs = said
    for _, it in pairs if language == "en" else ():
        assert not re.search(r"\ban? (?=an? )|\ba (?=[aeiou])|\ban (?![aeiou])", it.text, re.IGNORECASE), it.text


def test_chinese_has_no_latin_letter_and_no_ascii_mark(said):
    language, pairs = said
    for _, it in pairs if language == "zh" else ():
        assert re.fullmatch(r"[\u4e00-\u9fff，。；：、]+", it.text), it.text


def test_captions_are_as_short_as_one_word_and_as_long_as_everything(said):
    told = [len(it.told) for _, it in said[1]]
    assert min(told) == 1
    assert max(told) == 13


def test_captions_hardly_ever_repeat_when_they_tell_much(said):
    texts = [it.text for _, it in said[1] if len(it.told) > 5]
    assert len(set(texts)) > 0.99 * len(texts)


def test_a_subject_moves_as_is_natural_to_it():
    rng = random.Random(3)
    ways = {
        ("boat", "en"): "sails|sailing",
        ("fish", "zh"): "游",
        ("horse", "en"): "gallops|galloping",
        ("bird", "zh"): "飞",
        ("train", "en"): "chugs|chugging",
        ("boat", "zh"): "漂",
    }
    for (subject, language), way in ways.items():
        texts = [tell({"subject": subject, "motion": "left"}, language, rng) for _ in range(100)]
        assert any(re.search(way, text) for text in texts)
        assert all(re.search("left|左", text) for text in texts)


def test_chinese_counts_with_the_measure_word_of_the_thing():
    rng = random.Random(4)
    for subject, measures in phrases_zh.MEASURES.items():
        texts = [tell({"subject": subject, "colour": "red"}, "zh", rng) for _ in range(60)]
        assert {text[:2] for text in texts if text.startswith("一")} == set(measures)


def test_the_wished_for_captions_are_possible():
    rng = random.Random(5)
    told = {"subject": "boat", "colour": "red", "motion": "left"}
    told |= {"subject2": "bird", "colour2": "yellow", "motion2": "right"}
    english = [tell(told, "en", rng).split(" while ") for _ in range(8000)]
    assert {"a red boat sails left", "a yellow bird flies right"} <= {
        clause for clauses in english for clause in clauses
    }
    chinese = [tell(told, "zh", rng).split("，") for _ in range(8000)]
    assert {"一艘红船向左行驶", "一只黄色的鸟向右飞"} <= {clause for clauses in chinese for clause in clauses}
    assert "a blue fish" in {tell({"subject": "fish", "colour": "blue"}, "en", rng) for _ in range(50)}


def test_the_troupe_is_called_by_name():
    rng = random.Random(6)
    assert {tell({"subject": "dawa"}, "zh", rng).strip("。") for _ in range(40)} == {"大娃"}
    assert {tell({"subject": "snake_lady"}, "en", rng).strip(".") for _ in range(40)} == {"Snake Lady"}


def test_captions_and_scenes_are_the_same_in_every_process():
    program = """
import random
from piying.theatre.captions import caption
from piying.theatre.casting import draw
rng = random.Random(8)
print([(scene, caption(scene, language, rng)) for language in ("en", "zh") for scene in [draw(rng) for _ in range(40)]])
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": salt}, capture_output=True, check=True
        ).stdout
        for salt in ("1", "2")
    }
    assert len(outputs) == 1


def test_participles_are_spelled_right():
    pairs = {"flies left": "flying left", "runs": "running", "glides": "gliding", "trots": "trotting", "goes": "going"}
    assert {verb: participle(verb) for verb in pairs} == pairs


def test_words_are_what_captions_are_made_of(said):
    language, pairs = said
    learned = set(words()[language])
    for _, it in pairs:
        text = it.text.lower()
        used = re.findall(r"[a-z]+(?:['-][a-z]+)*", text) if language == "en" else re.findall(r"[\u4e00-\u9fff]", text)
        assert set(used) <= learned
    assert not learned & {"dawa", "woodcut", "娃", "刺绣"}
    assert words()["en"][0] == "boat" and words()["zh"][0] == "船"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_primer_has_a_way_to_say_each_fact_in_words_that_were_learned(language):
    kinds = primer(language)
    assert [len(kinds[kind]) for kind in ("subject", "colour", "size", "motion")] == [14, 9, 2, 9]
    assert [len(kinds[kind]) for kind in ("backdrop", "weather", "light", "camera", "style")] == [9, 5, 3, 6, 5]
    phrases = [phrase for kind in kinds.values() for phrase in kind]
    assert len(set(phrases)) == len(phrases) and not unknown_words("\n".join(phrases), words())


def test_about_the_wished_share_of_facts_is_chosen():
    rng = random.Random(7)
    scenes = [draw(rng) for _ in range(600)]
    everything = sum(len(facts(scene)) for scene in scenes)
    assert sum(len(choose(scene, rng, 1.0)) for scene in scenes) > 0.95 * everything
    assert sum(len(choose(scene, rng, 0.1)) for scene in scenes) < 0.3 * everything


def test_prompts_come_in_pairs_that_tell_the_same():
    cases = prompts(120)
    for english, chinese in zip(cases[::2], cases[1::2], strict=True):
        assert (english.language, chinese.language) == ("en", "zh")
        assert (english.scene, english.told, english.group) == (chinese.scene, chinese.told, chinese.group)


def test_prompts_are_fixed_and_the_first_of_more():
    assert prompts(31) == prompts(60)[:31]
    assert prompts(10, seed=1) != prompts(10)


def test_prompts_promise_what_their_group_is_for():
    cases = prompts(240)
    assert {case.group for case in cases} == {"seen", "held_out", "two"}
    for case in cases:
        assert case.told.items() <= facts(case.scene).items()
        assert len(case.scene.actors) == (2 if case.group == "two" else 1)
        assert 2**SEED_BITS <= case.scene.seed < 2 ** (SEED_BITS + 1)
        pairs = held_out_pairs(case.scene)
        assert len(pairs) == (case.group == "held_out")
        assert all({subject, value} <= set(case.told.values()) for subject, value in pairs)
    full = [case for case in cases if case.told == facts(case.scene)]
    assert len(full) / len(cases) == pytest.approx(0.75, abs=0.02)
