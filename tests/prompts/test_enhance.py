"""What is asked of a chat model, and that nothing wrong gets past."""

import pytest

from piying.errors import PiyingError
from piying.prompts.aliases import substitute
from piying.prompts.enhance import enhance, tidy
from piying.prompts.prepare import Wishes, prepare
from piying.prompts.reader import Reader

GLOSSARY = {"大娃": "DaWa", "二娃": "ErWa"}


def encode(text):
    """A token for each word; Chinese words have none."""
    return [5 if word.isascii() else 2 for word in text.split()]


READER = Reader("official", encode, 13)
NANO = Reader("nano", encode, 13, {"en": ["a", "red", "boat"], "zh": ["船"]})


class Scripted:
    """A chat model that answers by a script and keeps what it was asked."""

    def __init__(self, *answers):
        self.answers, self.chats = list(answers), []

    def __call__(self, chat):
        self.chats.append([dict(message) for message in chat])
        return self.answers.pop(0)


def test_the_answer_becomes_one_line():
    ask = Scripted('<think>Hm.\nA boat?</think>\n"A red boat sails.\n  It rains."\n')
    assert enhance("一艘红船", READER, ask) == "A red boat sails. It rains."
    system, idea = ask.chats[0]
    assert system["role"] == "system" and "These names stay" not in system["content"]
    assert idea == {"role": "user", "content": "一艘红船"}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("“A boat.”", "A boat."),
        ('"A" and "B"', '"A" and "B"'),
        ("DaWa's 'boat'", "DaWa's 'boat'"),
        (" ", ""),
        ('"', '"'),
    ],
)
def test_quotes_around_an_answer_go(answer, text):
    assert tidy(answer) == text


def test_a_long_answer_is_cut_after_its_last_whole_sentence_that_fits():
    ask = Scripted("One two three four. Five six 1.5 seven! Eight nine ten eleven twelve.")
    assert enhance("x", READER, ask) == "One two three four. Five six 1.5 seven!"


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ("", "is empty"),
        ("<think>only thoughts</think>", "is empty"),
        ("A boat 在海上 sails.", "is not English"),
        (" ".join(["word"] * 20), "is too long (21 tokens in one sentence, 13 are read)"),
    ],
)
def test_a_wrong_answer_goes_back_with_its_fault(wrong, fault):
    ask = Scripted(wrong, "A red boat sails.")
    assert enhance("一艘红船", READER, ask) == "A red boat sails."
    assert ask.chats[1][2:] == [
        {"role": "assistant", "content": wrong},
        {"role": "user", "content": f"That {fault}. Write it again without this fault."},
    ]


def test_a_name_that_is_lost_goes_back_and_is_then_refused():
    prompt = substitute("大娃和二娃划船", GLOSSARY)
    ask = Scripted("Big Boy rows with ErWa.", "DaWa and ErWa row.")
    assert enhance(prompt, READER, ask, list(GLOSSARY.values())) == "DaWa and ErWa row."
    assert "letter by letter: DaWa, ErWa." in ask.chats[0][0]["content"]
    assert "lost the name DaWa" in ask.chats[1][-1]["content"]
    ask = Scripted("Two boys row.", "Dawa rows.", "Boys.")
    with pytest.raises(PiyingError, match="3 times the enhancer wrote a text that lost the names DaWa, ErWa: reword"):
        enhance(prompt, READER, ask, list(GLOSSARY.values()))


def test_only_names_of_the_prompt_are_asked_for():
    ask = Scripted("DaWa rows.")
    assert enhance("DaWa 划船", READER, ask, list(GLOSSARY.values())) == "DaWa rows."
    assert "letter by letter: DaWa." in ask.chats[0][0]["content"]


def test_a_small_world_is_told_its_words_and_held_to_them():
    ask = Scripted("A red ship.", "A red boat.")
    assert enhance("a scarlet ship", NANO, ask) == "A red boat."
    assert "a red boat\n船" in ask.chats[0][0]["content"]
    assert "uses words that the model does not know (ship)" in ask.chats[1][-1]["content"]
    assert enhance("DaWa on a boat", NANO, Scripted("DaWa, a boat."), ["DaWa"]) == "DaWa, a boat."


def test_names_and_presets_come_before_the_enhancer():
    ask = Scripted("DaWa rows.")
    assert prepare("大娃划船", READER, Wishes(style="黑白", glossary=GLOSSARY, enhancer=lambda: ask)) == "DaWa rows."
    assert ask.chats[0][1]["content"].startswith("DaWa 划船。没有任何色彩的黑白影片")


def test_without_an_enhancer_names_and_presets_are_all():
    wishes = Wishes(camera="push in", glossary={"grandad": "GrandPa"})
    assert prepare("Grandad walks", READER, wishes) == "GrandPa walks. The camera slowly pushes in towards the subject."
    assert prepare(" a boat", READER, Wishes()) == " a boat"
