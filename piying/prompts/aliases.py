"""What a person may write for a name that a model learned: 大娃 -> DaWa."""

import re
from collections.abc import Iterator, Mapping

# Scripts that write no spaces, or join endings to names, as Hangul does: Thai to Khmer, kana, Chinese, Hangul.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff"
_UNSPACED += r"\uff66-\uff9f\U00020000-\U0003ffff"


def substitute(text: str, aliases: Mapping[str, str]) -> str:
    """The text with every alias replaced by its name, all in one pass, the longest first.

    An alias that begins or ends in a letter of a script with spaces stands for whole words alone, in capitals or not. A
    name is set apart from what stands beside it without a space, so that it reads as one word: 大娃骑马 -> DaWa 骑马.
    """
    written, end = "", 0
    for found, name in _found(text, aliases):
        written = _joined(written, text[end : found.start()])
        written = _joined(written, name)
        end = found.end()
    return _joined(written, text[end:])


def named(text: str, aliases: Mapping[str, str]) -> list[str]:
    """The names whose aliases stand in a text, each once, in order, as `substitute` finds them."""
    return list(dict.fromkeys(name for _, name in _found(text, aliases)))


def _found(text: str, aliases: Mapping[str, str]) -> Iterator[tuple[re.Match[str], str]]:
    """Where aliases stand, each with its name."""
    if not aliases:
        return
    longest_first = sorted(aliases, key=len, reverse=True)
    pattern = "|".join(f"({_whole(alias)})" for alias in longest_first)
    for match in re.finditer(pattern, text, re.IGNORECASE):
        assert match.lastindex
        yield match, aliases[longest_first[match.lastindex - 1]]


def _whole(alias: str) -> str:
    edge = rf"[^\W_{_UNSPACED}]"
    before = rf"(?<!{edge})" if re.match(edge, alias) else ""
    after = rf"(?!{edge})" if re.match(edge, alias[-1]) else ""
    return before + re.escape(alias) + after


def _joined(left: str, right: str) -> str:
    """Both, with a space where two words would run together of which not both are written without spaces."""
    meet = left[-1:], right[:1]
    words = all(re.match(r"\w", character) for character in meet)
    unspaced = all(re.match(f"[{_UNSPACED}]", character) for character in meet)
    return f"{left} {right}" if words and not unspaced else left + right
