"""`piying convert`: a model in another layout becomes a folder in the layout of diffusers."""

from pathlib import Path
from typing import Annotated

import typer

from piying.cli import terminal
from piying.cli.generate import Weights
from piying.errors import UsageError


def convert(
    sources: Annotated[list[Path], typer.Argument(help="SAT's folder, or the files of a model.")],
    out: Annotated[Path, typer.Option(help="The new folder.")],
    base: Annotated[
        str | None, typer.Option(help="The model that gives the configuration and what the files lack.")
    ] = None,
    to: Annotated[
        Weights | None, typer.Option(help="Eight bits take half the space, and only Piying reads them.")
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read .pt and .bin files; tensors alone, nothing in them is run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Turn SAT's checkpoints, single files or a folder into a folder that Piying and diffusers read."""
    from piying.weights import checkpoint, loose

    if any(source.exists() and out.exists() and source.samefile(out) for source in sources):
        raise UsageError(f"out={out}: is what is converted; choose another folder")
    folders = [source for source in sources if (source / "model_index.json").is_file()]
    if folders and len(sources) > 1:
        raise UsageError(f"{folders[0]}: is a whole model; name it with --base to take what the files lack from it")
    if folders and base:
        raise UsageError(f"base={base}: {folders[0]} is a whole model; leave --base out")
    source = (
        checkpoint.open_source(folders[0], allow_pickle=allow_pickle)
        if folders
        else loose.open_files(sources, base, allow_pickle=allow_pickle)
    )
    terminal.say(f"converting {source.config.name}")
    kept = to.value if to else source.weights
    checkpoint.convert(source, out, kept)
    if as_json:
        origins = {"transformer": source.transformer, "vae": source.vae, "text encoder": source.text}
        terminal.answer(
            {
                "model": str(out),
                "name": source.config.name,
                "precision": source.config.precision,
                "weights": kept,
                "from": {name: str(part.origin) for name, part in origins.items()},
            }
        )
    else:
        types = [source.config.precision] if kept == "full" else [kept, source.config.precision]
        typer.echo(f"{out}: {source.config.name} in {' and '.join(types)}")
