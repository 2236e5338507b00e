"""What a person may write for a name that a model learned: 大娃 -> DaWa."""

import re
from collections.abc import Mapping

_CHINESE = r"\u3400-\u9fff"


def substitute(text: str, aliases: Mapping[str, str]) -> str:
    """The text with every alias replaced by its name, all in one pass, the longest first.

    An alias that begins or ends in a letter of an alphabet stands for whole words alone, in capitals or not. A name is
    set apart from Chinese beside it, so that it reads as one word: 大娃骑马 -> DaWa 骑马.
    """
    if not aliases:
        return text
    names = {alias.lower(): name for alias, name in aliases.items()}
    longest_first = sorted(names, key=len, reverse=True)
    pattern = re.compile("|".join(f"(?:{_whole(alias)})" for alias in longest_first), re.IGNORECASE)

    def name_of(found: re.Match[str]) -> str:
        name = names[found[0].lower()]
        before, after = text[: found.start()][-1:], text[found.end() :][:1]
        return " " * _joins(before, name[0]) + name + " " * _joins(name[-1], after)

    return pattern.sub(name_of, text)


def _whole(alias: str) -> str:
    edge = rf"[^\W_{_CHINESE}]"
    before = rf"(?<!{edge})" if re.match(edge, alias) else ""
    after = rf"(?!{edge})" if re.match(edge, alias[-1]) else ""
    return before + re.escape(alias) + after


def _joins(left: str, right: str) -> bool:
    """Whether two characters would run together: both of words, and one of them not Chinese."""
    both = bool(re.match(r"\w", left) and re.match(r"\w", right))
    return both and not all(re.match(f"[{_CHINESE}]", character) for character in (left, right))
