"""From what a person wrote to what a model reads: names, presets, enhancement."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from piying.prompts import presets
from piying.prompts.aliases import substitute
from piying.prompts.enhance import Ask, enhance
from piying.prompts.reader import Reader


@dataclass(frozen=True)
class Wishes:
    """What is to be done with a prompt besides reading it."""

    style: str | None = None  # a preset's name in Chinese or English
    mood: str | None = None
    camera: str | None = None
    glossary: Mapping[str, str] = field(default_factory=dict)  # what a person writes -> the name that stays
    enhancer: Callable[[], Ask] | None = None  # opened once all else is known to be right


def prepare(written: str, reader: Reader, wishes: Wishes) -> str:
    """The prompt that the reader is given: the same where nothing is wished.

    Names come first, so that a translator meets them as they are to stay; the enhancer sees what the presets say.
    Raises UsageError for a preset that is none, PiyingError where the enhancer fails.
    """
    named = substitute(written, wishes.glossary)
    prompt = presets.compose(named, reader, style=wishes.style, mood=wishes.mood, camera=wishes.camera)
    if wishes.enhancer is None:
        return prompt
    return enhance(prompt, reader, wishes.enhancer(), list(dict.fromkeys(wishes.glossary.values())))
