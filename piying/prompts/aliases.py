"""What a person may write for a name that a model learned: 大娃 -> DaWa."""

import re
from collections.abc import Iterable, Mapping

_CHINESE = r"\u3400-\u9fff"


def substitute(text: str, aliases: Mapping[str, str]) -> str:
    """The text with every alias replaced by its name, all in one pass, the longest first.

    An alias that begins or ends in a letter of an alphabet stands for whole words alone, in capitals or not. A name is
    set apart from Chinese beside it, so that it reads as one word: 大娃骑马 -> DaWa 骑马.
    """
    if not aliases:
        return text
    names = {alias.lower(): name for alias, name in aliases.items()}
    written, end = "", 0
    for found in _pattern(names).finditer(text):
        written = _joined(written, text[end : found.start()])
        written = _joined(written, names[found[0].lower()])
        end = found.end()
    return _joined(written, text[end:])


def named(text: str, aliases: Mapping[str, str]) -> list[str]:
    """The names whose aliases stand in a text, each once, in order, as `substitute` finds them."""
    names = {alias.lower(): name for alias, name in aliases.items()}
    found = _pattern(names).finditer(text) if names else ()
    return list(dict.fromkeys(names[alias[0].lower()] for alias in found))


def _pattern(aliases: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(aliases, key=len, reverse=True)
    return re.compile("|".join(f"(?:{_whole(alias)})" for alias in longest_first), re.IGNORECASE)


def _whole(alias: str) -> str:
    edge = rf"[^\W_{_CHINESE}]"
    before = rf"(?<!{edge})" if re.match(edge, alias) else ""
    after = rf"(?!{edge})" if re.match(edge, alias[-1]) else ""
    return before + re.escape(alias) + after


def _joined(left: str, right: str) -> str:
    """Both, with a space where two words would run together of which not both are Chinese."""
    meet = left[-1:], right[:1]
    words = all(re.match(r"\w", character) for character in meet)
    chinese = all(re.match(f"[{_CHINESE}]", character) for character in meet)
    return f"{left} {right}" if words and not chinese else left + right
