"""Who reads a prompt, how much of it, and what of it means nothing to them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from piying.prompts.vocabulary import unknown_words

UNKNOWN = 2  # the number of <unk> in every T5 vocabulary
_UNIT = re.compile(r"\s*(?:[\u3400-\u9fff]|[^\s\u3400-\u9fff]+)")  # what is never read in half: a word, or 字


@dataclass(frozen=True)
class Reader:
    """A text encoder as a prompt meets it: its tokenizer, how many tokens it takes, and the words of a small world."""

    name: str
    encode: Callable[[str], list[int]]  # a text to its tokens, without the end mark
    limit: int  # tokens, the end mark among them
    words: Mapping[str, Sequence[str]] | None = None  # by language; None: a language at large


@dataclass(frozen=True)
class Reading:
    """What a reader makes of a prompt."""

    tokens: int  # the end mark among them
    limit: int
    cut: str  # the end of the prompt, from the first word that does not fit whole
    unreadable: tuple[str, ...]  # characters without a token: each run of them is one <unk>
    unlearned: tuple[str, ...]  # words that a model of a small world never saw

    @property
    def needs_translation(self) -> bool:
        return any(is_chinese(part) for part in self.unreadable)


def read(prompt: str, reader: Reader) -> Reading:
    """How the reader takes the prompt. Of a small world its words tell what can be read, and not its characters."""
    return Reading(
        tokens=len(reader.encode(prompt)) + 1,
        limit=reader.limit,
        cut=prompt[fitting(prompt, reader) :].strip(),
        unreadable=_unreadable(prompt, reader) if reader.words is None else (),
        unlearned=tuple(unknown_words(prompt, reader.words)) if reader.words is not None else (),
    )


def unread(reading: Reading, reader: Reader) -> list[str]:
    """What of a prompt the reader will not see and what to do, a line each."""
    lines, runs = [], " ".join(reading.unreadable)
    if reading.needs_translation:
        lines.append(
            f"{reader.name} cannot read Chinese ({runs}): write English,"
            " or translate with --enhance and --enhancer or PIYING_ENDPOINT"
        )
    elif runs:
        lines.append(f"{reader.name} cannot read {runs}; say it in letters")
    if reading.cut:
        lines.append(
            f"{reading.tokens} tokens, and {reader.name} reads {reading.limit}: it will not see"
            f' "{reading.cut}"; shorten the prompt'
        )
    return lines


def fitting(prompt: str, reader: Reader) -> int:
    """How many characters of the prompt fit into the limit, up to the end of a word."""
    if len(reader.encode(prompt)) < reader.limit:
        return len(prompt)
    ends = [0, *(unit.end() for unit in _UNIT.finditer(prompt))]
    fits, too_long = 0, len(ends)
    while too_long - fits > 1:  # words are encoded apart, so that more of them are never fewer tokens
        middle = (fits + too_long) // 2
        if len(reader.encode(prompt[: ends[middle]])) < reader.limit:
            fits = middle
        else:
            too_long = middle
    return ends[fits]


def is_chinese(text: str) -> bool:
    """Whether a text holds Chinese characters."""
    return re.search(r"[\u3400-\u9fff]", text) is not None


def _unreadable(prompt: str, reader: Reader) -> tuple[str, ...]:
    """Runs of characters that have no token, each once; a letter that stands in a known word has one."""
    marked = list(prompt)
    for unit in _UNIT.finditer(prompt):
        known = UNKNOWN not in reader.encode(unit[0].strip())
        for place in range(*unit.span()):
            if known or prompt[place].isspace() or UNKNOWN not in reader.encode(prompt[place]):
                marked[place] = " "
    return tuple(dict.fromkeys("".join(marked).split()))
