"""Looks, moods and camera moves by name; presets.toml holds them."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from piying.errors import UsageError
from piying.prompts.reader import Reader, is_chinese
from piying.prompts.vocabulary import unknown_words

KINDS = ("style", "mood", "camera")


def compose(prompt: str, reader: Reader, *, style: str | None, mood: str | None, camera: str | None) -> str:
    """The prompt with what the presets say, in its own language, and in the reader's own words where it knows few.

    Raises UsageError for a name that is none, or a preset that the reader cannot express.
    """
    names = {"style": style, "mood": mood, "camera": camera}
    language = "zh" if is_chinese(prompt) else "en"
    said = [_says(kind, name, language, reader) for kind, name in names.items() if name is not None]
    if not said:
        return prompt
    if reader.words is not None:
        return ("，" if language == "zh" else ", ").join([prompt.strip().rstrip(".。,，;；"), *said])
    if language == "zh":
        return "".join([_closed(prompt, "。"), *said])
    return " ".join([_closed(prompt, "."), *said])


def names(kind: str) -> str:
    """The presets of a kind in both languages: 黑白 (black and white), ..."""
    return ", ".join(f"{preset['zh']} ({preset['en']})" for preset in _presets()[kind].values())


@cache
def _presets() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(Path(__file__).with_name("presets.toml").read_text("utf-8"))


def _says(kind: str, name: str, language: str, reader: Reader) -> str:
    presets = _presets()[kind].values()
    wanted = name.strip().casefold()
    preset = next((one for one in presets if wanted in (one["zh"].casefold(), one["en"].casefold())), None)
    if preset is None:
        raise UsageError(f"{kind}={name}: use one of {names(kind)}")
    if reader.words is None:
        return preset["says"][language]
    if not _expressible(preset, language, reader):
        known = ", ".join(f"{one['zh']} ({one['en']})" for one in presets if _expressible(one, language, reader))
        raise UsageError(
            f"{kind}={name}: {reader.name} never learned it; {f'use {known}' if known else 'leave it out'}"
        )
    return preset["small_world"][language]


def _expressible(preset: Mapping[str, Any], language: str, reader: Reader) -> bool:
    return "small_world" in preset and not unknown_words(preset["small_world"][language], reader.words or {})


def _closed(sentence: str, mark: str) -> str:
    sentence = sentence.strip()
    return sentence if sentence.endswith((".", "!", "?", "。", "！", "？", "…")) else sentence + mark
