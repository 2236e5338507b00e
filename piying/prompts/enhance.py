"""A short wish in any language becomes the long English caption that the family was trained on.

A chat model writes it; what it writes is checked, and sent back with the fault until it is right.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from piying.errors import PiyingError
from piying.prompts.glossary import stand_in
from piying.prompts.reader import Reader, fitting, read

Chat = list[
    dict[str, Any]
]  # messages of a role and a content, as chat models take them: a text, or parts with pictures
Ask = Callable[[Chat], str]  # the answer to a chat

ATTEMPTS = 3

_CAPTION = """\
You write captions for a model that turns a caption into a silent video of a few seconds. It learned from captions in \
which a careful observer describes, in plain English, all that can be seen. Make such a caption of the idea that you \
are given.

- Write English, whatever the language of the idea: one paragraph of 80 to 140 words, and nothing before or after it.
- Start with who or what is to be seen and what it does; then how it looks, what is around it and behind it, the light \
and the colours; how everything moves from the first moment to the last; at the end how the camera behaves.
- Keep all that the idea says: who, how many, which colours and directions, style, mood and camera. Where it says \
nothing, choose what fits, and be concrete.
- Tell only what the eye sees: no sounds, smells, thoughts or opinions, no writing in the picture.
- It is a single shot: one place, one stretch of time, no cut."""
_SENTENCE = """\
You reword ideas for a model that makes silent videos of a paper theatre. It knows a few words and no others. Say the \
idea in one short sentence in the language of the idea, with the words of this list alone; leave out what they cannot \
say, and write nothing before or after the sentence.

{words}"""
_NAMES = "These names stay as they are, letter by letter: {names}."


def enhance(prompt: str, reader: Reader, ask: Ask, names: Sequence[str] = ()) -> str:
    """What the chat model makes of the prompt, in one line that the reader reads whole; each name stands in it.

    Raises PiyingError where it is still wrong after three attempts.
    """
    kept = stand_in(prompt, list(names))
    chat: Chat = [{"role": "system", "content": _task(reader, kept)}, {"role": "user", "content": prompt}]
    for _ in range(ATTEMPTS):
        answer = ask(chat)
        text = shortened(tidy(answer), reader)
        if not (fault := _fault(text, reader, kept)):
            return text
        chat += [
            {"role": "assistant", "content": answer},
            {"role": "user", "content": f"That {fault}. Write it again without this fault."},
        ]
    raise PiyingError(f"{ATTEMPTS} times the enhancer wrote a text that {fault}: reword the prompt, or use another one")


def tidy(answer: str) -> str:
    """The answer in one line, without what a model thought aloud before it and without quotes around it."""
    text = " ".join(re.sub(r"<think>.*?</think>", "", answer, flags=re.DOTALL).split())
    for left, right in ('""', "''", "“”", "「」", "``"):
        if len(text) > 1 and text[0] == left and text[-1] == right and left not in text[1:-1]:
            text = text[1:-1].strip()
    return text


def shortened(text: str, reader: Reader) -> str:
    """As many whole sentences as the reader takes."""
    fits = fitting(text, reader)
    if fits == len(text):
        return text
    ends = [sentence.end() for sentence in re.finditer(r"[.!?。！？](?=\s|$|[\u3400-\u9fff])", text[:fits])]
    return text[: ends[-1]] if ends else text


def _task(reader: Reader, names: Sequence[str]) -> str:
    task = _CAPTION
    if reader.words is not None:
        task = _SENTENCE.format(words="\n".join(" ".join(words) for words in reader.words.values()))
    return "\n\n".join([task, *([_NAMES.format(names=", ".join(names))] if names else [])])


def _fault(text: str, reader: Reader, names: Sequence[str]) -> str:
    """What is wrong with an answer, to go on after "that"; empty where nothing is."""
    if not text:
        return "is empty"
    reading = read(text, reader)
    if reading.needs_translation:
        return "is not English"
    if strange := [word for word in reading.unlearned if word not in " ".join(names).lower().split()]:
        return f"uses words that the model does not know ({', '.join(strange[:8])})"
    if reading.cut:
        return f"is too long ({reading.tokens} tokens in one sentence, {reading.limit} are read)"
    if lost := [name for name in names if not stand_in(text, [name])]:
        return f"lost {'the names' if len(lost) > 1 else 'the name'} {', '.join(lost)}"
    return ""
