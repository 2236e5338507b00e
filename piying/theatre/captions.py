"""What may be said of a scene, in English and Chinese: from one word to every fact, and which facts were told."""

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from piying.theatre import chinese, english, phrases_en, phrases_zh
from piying.theatre.facts import choose
from piying.theatre.scene import TROUPE, UNSEEN_STYLES, Scene

Language = Literal["en", "zh"]

_TAUGHT = (*TROUPE, *UNSEEN_STYLES)  # by fine-tuning alone
_TELL = {"en": english.tell, "zh": chinese.tell}


@dataclass(frozen=True)
class Caption:
    """A text and the facts that it tells. Whatever else the scene shows, the text leaves open."""

    text: str
    told: dict[str, str]


def caption(scene: Scene, language: Language, rng: random.Random) -> Caption:
    """One of the many captions of a scene."""
    told = choose(scene, rng)
    return Caption(tell(told, language, rng), told)


def tell(told: Mapping[str, str], language: Language, rng: random.Random) -> str:
    """One of the many ways to say the told facts, and nothing else."""
    return _TELL[language](told, rng)


def words() -> dict[str, list[str]]:
    """What nano learned to read, subjects first: English words; Chinese phrases, then their characters."""
    en, zh = list(_phrases(phrases_en.LEXICON)), list(_phrases(phrases_zh.LEXICON))
    en += [english.participle(verb) for verb in _phrases(phrases_en.VERBS) if not verb.startswith(" ")]
    return {
        "en": list(dict.fromkeys(re.findall(r"[a-z]+(?:['-][a-z]+)*", " ".join(en).lower()))),
        "zh": list(dict.fromkeys((*zh, *"".join(zh)))),
    }


def primer(language: Language) -> dict[str, list[str]]:
    """One way to say each fact that nano can show, by kind: enough to write a prompt with."""
    said = {"en": phrases_en, "zh": phrases_zh}[language]
    actor = {"subject": said.NOUNS, "colour": said.COLOURS, "size": said.SIZES, "motion": said.MOTIONS}
    going = {"en": phrases_en.ANY_GAIT[0], "zh": phrases_zh.ANY_LONG_GAIT[0]}[language]
    return {
        kind: [ways[0].format(gait=going, going=going) for fact, ways in table.items() if fact not in _TAUGHT]
        for kind, table in {**actor, **said.KEYWORDS}.items()
    }


def _phrases(tree: object) -> Iterator[str]:
    """The strings of nested tables, cut at their slots and marks, without those that are only for fine-tuning."""
    if isinstance(tree, str):
        yield from filter(None, re.split(r"\{\w+\}|[，：]", tree))
    elif isinstance(tree, Mapping):
        yield from _phrases([branch for value, branch in tree.items() if value not in _TAUGHT])
    elif isinstance(tree, Iterable):
        for branch in tree:
            yield from _phrases(branch)
