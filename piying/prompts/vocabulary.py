"""Which words of a prompt a model of a small world never learned."""

import re
from collections.abc import Mapping, Sequence

_RUN = re.compile(r"(?P<en>[a-z]+(?:'[a-z]+)*)|(?P<zh>[\u3400-\u9fff]+)")  # a Latin word, or Chinese up to a mark


def unknown_words(prompt: str, words: Mapping[str, Sequence[str]]) -> list[str]:
    """The words of the prompt that are not among `words` {"en": [...], "zh": [...]}, each once, in order.

    English is compared in lower case, and a known word may be plural. Chinese has no spaces: known words are taken
    greedily, the longest first, and what is left between two of them is one unknown word.
    """
    english = {part for phrase in words["en"] for part in _english(phrase)}
    chinese = {part for phrase in words["zh"] for part in re.findall(r"[\u3400-\u9fff]+", phrase)}
    unknown: dict[str, None] = {}
    for run in _RUN.finditer(prompt.lower()):
        if run["zh"]:
            unknown |= dict.fromkeys(_unknown_chinese(run["zh"], chinese))
        elif not {run["en"], *_singulars(run["en"])} & english:
            unknown[run["en"]] = None
    return list(unknown)


def _english(phrase: str) -> list[str]:
    return [run["en"] for run in _RUN.finditer(phrase.lower()) if run["en"]]


def _singulars(word: str) -> list[str]:
    """cats -> cat, foxes -> fox, butterflies -> butterfly, boat's -> boat; wrong guesses do no harm."""
    endings = (("'s", ""), ("s", ""), ("es", ""), ("ies", "y"))
    return [word.removesuffix(ending) + mended for ending, mended in endings if word.endswith(ending)]


def _unknown_chinese(run: str, words: set[str]) -> list[str]:
    longest = max(map(len, words), default=0)
    unknown, start, place = [], 0, 0
    while place < len(run):
        known = next((size for size in range(longest, 0, -1) if run[place : place + size] in words), 0)
        if known:
            unknown.append(run[start:place])
            start = place = place + known
        else:
            place += 1
    return [word for word in [*unknown, run[start:]] if word]
