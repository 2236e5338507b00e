"""`piying prompt "..."`: what a model makes of a prompt, before any video is made."""

from typing import Annotated

import typer

from piying.cli import terminal
from piying.cli.prompting import (
    Camera,
    Enhance,
    Enhancer,
    EnhancerModel,
    Glossary,
    Mood,
    Style,
    Wanted,
    advice,
    prepared,
    reader_of,
)


def prompt(
    text: Annotated[str, typer.Argument(help="What to show, in English or Chinese.")],
    model: Annotated[str, typer.Option(help="The model that is to read it: a name or a folder.")] = "nano",
    style: Style = None,
    mood: Mood = None,
    camera: Camera = None,
    glossary: Glossary = None,
    enhance: Enhance = False,
    enhancer: Enhancer = None,
    enhancer_model: EnhancerModel = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Tell how a model reads a prompt: its tokens, what is cut, what it cannot read."""
    from piying.prompts.reader import read
    from piying.request import Request

    Request(prompt=text)  # refuses what is no text
    reader = reader_of(model)
    final = prepared(text, reader, Wanted(style, mood, camera, glossary, enhance, enhancer, enhancer_model), aliases={})
    reading = read(final, reader)
    lines = advice(reading, reader)
    if as_json:
        terminal.answer(
            {
                "prompt": final,
                "written": text,
                "model": reader.name,
                "tokens": reading.tokens,
                "limit": reading.limit,
                "cut": reading.cut,
                "unreadable": list(reading.unreadable),
                "unlearned": list(reading.unlearned),
                "advice": lines,
            }
        )
        return
    typer.echo(final)
    typer.echo(f"{reading.tokens} of {reading.limit} tokens of {reader.name}")
    for line in lines:
        typer.echo(line)
