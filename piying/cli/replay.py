"""`piying replay video.mp4`: the same video again, from the request that it carries."""

from pathlib import Path
from typing import Annotated

import typer

from piying.cli import output, terminal
from piying.cli.generate import Memory, make


def replay(
    video: Annotated[Path, typer.Argument(help="An MP4 that Piying saved.")],
    out: Annotated[Path | None, typer.Option(help="An MP4; else a new name beside the video.")] = None,
    memory: Memory = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Make a video again from the request that it carries."""
    from piying.video import read_request

    request = read_request(video)
    new = out is None
    out = out or output.free(video.with_stem(f"{video.stem}-replay"))
    output.check(out, ".mp4", video, request.video, request.continues)
    answer = make(request, out, memory=memory, new=new)
    out = Path(answer["video"])
    same = out.read_bytes() == video.read_bytes()
    if as_json:
        terminal.answer(answer | {"same": same})
    else:
        typer.echo(f"{out}: {'the same, byte for byte' if same else f'differs from {video}'}")
