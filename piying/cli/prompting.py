"""What `generate` and `prompt` share: the options that change a prompt, and what is said about it."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from piying.cli import terminal
from piying.errors import UsageError
from piying.prompts import presets
from piying.prompts.reader import Reader, Reading, unread
from piying.prompts.vocabulary import unknown_words

if TYPE_CHECKING:
    from piying.prompts.enhance import Ask
    from piying.request import Request
    from piying.theatre.captions import Language

Style = Annotated[str | None, typer.Option(help=presets.names("style") + ".")]
Mood = Annotated[str | None, typer.Option(help=presets.names("mood") + ".")]
Camera = Annotated[str | None, typer.Option(help=presets.names("camera") + ".")]
Glossary = Annotated[Path | None, typer.Option(help='A TOML file of names to keep, e.g. "大娃" = "DaWa".')]
Enhance = Annotated[bool, typer.Option("--enhance", help="Let a chat model translate the prompt and describe more.")]
Enhancer = Annotated[
    str | None,
    typer.Option(envvar="PIYING_ENDPOINT", help="An OpenAI-compatible address, or the folder of a chat model."),
]
EnhancerModel = Annotated[
    str | None,
    typer.Option(envvar="PIYING_ENDPOINT_MODEL", help="Its name there. PIYING_ENDPOINT_KEY holds the key."),
]


def reader_of(model: str) -> Reader:
    """How a model reads, without its weights."""
    from piying import weights

    config, words, tokenizer = weights.glance(model)
    return Reader(config.name, tokenizer.encode, config.transformer.text_tokens, words)


@dataclass(frozen=True)
class Wanted:
    """The options as they were given."""

    style: str | None
    mood: str | None
    camera: str | None
    glossary: Path | None
    enhance: bool
    enhancer: str | None
    enhancer_model: str | None


def prepared(written: str, reader: Reader, wanted: Wanted, aliases: Mapping[str, str]) -> str:
    """The prompt that the model reads. Nothing is sent anywhere unless `enhance` asks for it.

    An enhancer meets the aliases of the adapters as the names that they are to stay.
    """
    from piying.prompts import glossary
    from piying.prompts.prepare import Wishes, prepare

    opened = None
    if wanted.enhance:
        if not wanted.enhancer:
            raise UsageError("--enhance: name an address or a chat model's folder, with --enhancer or PIYING_ENDPOINT")
        opened = opener(wanted.enhancer, wanted.enhancer_model)
    names = dict(aliases) if wanted.enhance else {}
    names |= glossary.read(wanted.glossary) if wanted.glossary else {}
    return prepare(written, reader, Wishes(wanted.style, wanted.mood, wanted.camera, names, opened))


def settle(request: "Request", wanted: Wanted, aliases: Mapping[str, str]) -> "Request":
    """The request with the prompt that the model reads, which is said where it is not the one that was written.

    What is said of it counts each alias of the adapters as its name, as the model will read it.

    Raises UsageError where the model could read nothing of it.
    """
    from piying.prompts.aliases import substitute
    from piying.prompts.reader import read

    reader = reader_of(request.model)
    prompt = prepared(request.prompt, reader, wanted, aliases)
    for name, text in (("prompt", prompt), ("negative", request.negative)):
        reading = read(substitute(text, aliases), reader)
        lines = unread(reading, reader)
        if reading.needs_translation:
            raise UsageError(f'{name}="{text}": {lines[0]}')
        for line in lines:  # words that were never learned are named once the model is there
            terminal.say(f"{name}: {line}")
    if prompt == request.prompt:
        return request
    terminal.say(f"prompt: {prompt}")
    return request.model_copy(update={"prompt": prompt, "written": request.prompt})


def opener(
    where: str, model: str | None, *, option: str = "enhancer", sends: str = "the prompt", sees: bool = False
) -> "Callable[[], Ask]":
    """Opens an address, or the model of a folder, and says which. `option` is what it was given as; one that `sees`
    takes pictures. Raises UsageError at once for an address that cannot be meant."""
    if re.match(r"\w+://", where):
        from piying.prompts.endpoint import endpoint

        ask = endpoint(where, model, os.environ.get("PIYING_ENDPOINT_KEY"), option=option)

        def open_address() -> "Ask":
            terminal.say(f"sending {sends} to {model} at {where}")
            return ask

        return open_address

    def open_folder() -> "Ask":
        from piying.prompts.local import local

        terminal.say(f"loading {where}")
        return local(Path(where), sees=sees, option=option)

    return open_folder


def advice(reading: Reading, reader: Reader) -> list[str]:
    """What is wrong with a prompt and what to do, a line each."""
    lines = unread(reading, reader)
    if reading.unlearned and reader.words:
        lines.append(never_learned(reader.name, reading.unlearned, reader.words))
    return lines


def never_learned(name: str, unknown: Sequence[str], words: Mapping[str, Sequence[str]]) -> str:
    """What the model does know: of the theatre a primer, since all words of it fill a screen; else its words."""
    from piying.theatre.captions import primer

    language: Language = "en" if any(word.isascii() for word in unknown) else "zh"
    kinds = primer(language)
    if any(unknown_words(phrase, words) for phrases in kinds.values() for phrase in phrases):
        return f"{name} never learned {', '.join(unknown)}. It knows: {', '.join(words[language])}."
    lines = [f"  {kind:<8} {', '.join(phrases)}" for kind, phrases in kinds.items()]
    return "\n".join([f"{name} never learned {', '.join(unknown)}. It knows, among other words:", *lines])
