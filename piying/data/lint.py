"""What is wrong with a caption, before a model learns from it."""

import re
from collections.abc import Sequence

from piying.data.dataset import Member
from piying.prompts.aliases import named, substitute
from piying.prompts.reader import Reader, read

_LOOKS = re.compile(  # what a name should carry: a model that is told of it learns it as something apart from the name
    r"\b(?:wear(?:s|ing)?|dressed|(?:wo|cl)ad|with (?:\w+ ){0,3}(?:hair|eyes|face|beard|robe|hat|dress|skin)"
    r"|(?:red|orange|yellow|green|blue|purple|pink|white|black|golden|brown|blond|grey)[- ]?"
    r"(?:\w+ )?(?:haired|robed|eyed|hair|robe|dress|clothes|shirt|coat|hat|trousers|skirt))\b"
    r"|穿着?|戴着?|身着|头发|衣服|眼睛|长袍|胡子|长相",
    re.IGNORECASE,
)


def lint(captions: Sequence[str], cast: Sequence[Member], reader: Reader | None, place: str) -> list[str]:
    """A line for each fault of the captions of one clip. `place` is the name of its source, which may name someone.

    Without a reader nothing is said of tokens.
    """
    if not captions:
        return ["no caption"]
    tokens = {word: member.token for member in cast for word in (*member.aliases, member.token)}
    present = [set(named(caption, tokens)) for caption in captions]
    expected = set().union(*present, named(re.sub(r"[_\W\d]+", " ", place), tokens))
    lines = []
    for caption, names in zip(captions, present, strict=True):
        short = caption if len(caption) <= 40 else caption[:39] + "…"
        if lacking := sorted(expected - names):
            lines.append(f'"{short}" lacks {", ".join(lacking)}')
        if not names and (kinds := _classes(caption, cast)):
            lines.append(f'"{short}" says {kinds[0]} and nobody\'s name')
        if names and (found := _LOOKS.search(caption)):
            lines.append(f'"{short}" tells of "{found[0]}", which the name should carry')
        if reader is not None:
            reading = read(substitute(caption, tokens), reader)
            if reading.cut:
                lines.append(f'"{short}" has {reading.tokens} tokens, {reader.name} reads {reading.limit}')
            if reading.unreadable:
                lines.append(f'"{short}": {reader.name} cannot read {" ".join(reading.unreadable)}')
    return lines


def _classes(caption: str, cast: Sequence[Member]) -> list[str]:
    """The class words of the cast that stand in a caption."""
    words = {member.class_word: member.class_word for member in cast if member.class_word.strip()}
    return named(caption, words)
