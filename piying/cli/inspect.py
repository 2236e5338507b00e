"""`piying inspect video.mp4`: how a video was made."""

from pathlib import Path
from typing import Annotated

import typer

from piying.cli import terminal


def inspect(
    video: Annotated[Path, typer.Argument(help="An MP4 that Piying saved.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the request that a video carries."""
    from piying.video import read_request

    request = read_request(video).model_dump(mode="json")
    if as_json:
        terminal.answer({"video": str(video), "request": request})
        return
    for use in request.pop("adapters"):
        typer.echo(f"adapter: {use['source']}:{use['weight']:g}, SHA-256 {use['sha256']}")
    for name, value in request.items():
        if value is not None:
            typer.echo(f"{name}: {value}")
