"""`piying models`: the checkpoints on this machine, and those that could be."""

from enum import StrEnum
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from piying.cli import terminal
from piying.errors import ModelMissing, UsageError

if TYPE_CHECKING:
    from piying.weights.source import Source
    from piying.weights.store import Place

GB = 1e9

app = typer.Typer(help="The models on this machine: list, pull, add, info, rm.", rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class Hub(StrEnum):
    huggingface = "huggingface"
    modelscope = "modelscope"


@app.callback()
def models() -> None:
    """The models on this machine: list, pull, add, info, rm."""


@app.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models that are here, and those that could be pulled."""
    from piying.config import FAMILY
    from piying.weights import store

    here = [describe_place(place) for place in store.places()]
    named = {entry["name"] for entry in here}
    others = [member for member in FAMILY.values() if member.hub and member.name not in named]
    could = [{"name": member.name, "hub": member.hub, "licence": member.licence} for member in others]
    if as_json:
        terminal.answer({"here": here, "could_be_pulled": could})
        return
    for entry in here:
        size = f"{entry['bytes'] / GB:.2f} GB" if entry["bytes"] is not None else "not there any more"
        typer.echo(f"{entry['name']}: {entry['kind']}, {size}, {entry['path']}")
    for member in others:
        typer.echo(f"{member.name}: not here, licence {member.licence}; piying models pull {member.name}")


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="A member of the family, or a hub id such as someone/model.")],
    hub: Annotated[Hub, typer.Option("--from", help="Where to download.")] = Hub.huggingface,
    as_json: Json = False,
) -> None:
    """Download a model. A broken download goes on where it stopped."""
    from piying.weights import store

    if (place := store.known(name)) and place.kind != "added":
        terminal.say(f"{name} is on this machine already")
        return tell_place(place, as_json=as_json)

    from piying.weights.hub.pull import carry_out, order

    made = order(name, hub.value)
    licence = made.remote.licence or "not stated"
    terminal.say(f"{made.remote.hub_id} from {hub.value}: {made.size / GB:.2f} GB, licence {licence}")
    if made.here:
        terminal.say(f"{made.here / GB:.2f} GB are here from an earlier try")
    with terminal.progress("MB", max(made.size // 10**6, 1)) as show:
        done = made.here

        def advance(count: int) -> None:
            nonlocal done
            done += count
            if done >= 10**6:
                show(done // 10**6)

        carry_out(made, advance)
    place = store.known(name)
    assert place is not None
    return tell_place(place, as_json=as_json)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What you will call it.")],
    path: Annotated[Path, typer.Argument(help="A folder in the layout of diffusers, or a safetensors file.")],
    as_json: Json = False,
) -> None:
    """Give a name to a model in a folder of yours, which stays where it is."""
    from piying.weights import store
    from piying.weights.checkpoint import open_source

    if name in store.added():
        raise UsageError(f"name={name}: means {store.added()[name]}; `piying models rm {name}` frees it")
    if not path.exists():
        raise ModelMissing(f"{path}: no such folder or file")
    open_source(path).check()
    store.add(name, path)
    tell_place(store.Place(name, "added", path.resolve()), as_json=as_json)


@app.command()
def info(
    model: Annotated[str, typer.Argument(help="A name, a hub id, a folder, or a safetensors file.")],
    as_json: Json = False,
) -> None:
    """Say what a model is: member of the family, parameters, precision, size, licence."""
    from piying.weights import store
    from piying.weights.checkpoint import open_source

    path = store.find(model)
    source = open_source(path)
    source.check()
    told = describe(source, path)
    if as_json:
        terminal.answer(told)
        return
    counts = ", ".join(f"{part} {count / 1e9:.3f}" for part, count in told["parameters"].items())
    height, width = told["size"]
    for line in (
        f"{told['name']}: {', '.join(told['tasks'])} to video",
        f"video: {told['frames']} frames of {height}x{width}, {told['fps']} a second",
        f"parameters (billions): {counts}",
        f"precision: {told['precision']}; in the files {', '.join(told['stored'])}",
        f"size: {told['bytes'] / GB:.2f} GB",
        f"licence: {told['licence'] or 'not stated'}",
        f"path: {path}",
    ):
        typer.echo(line)


@app.command()
def rm(
    name: Annotated[str, typer.Argument(help="What was pulled or added.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Delete a download, or forget a name that you added; your own files stay."""
    from piying.weights import store

    place = store.known(name)
    if place is None and (store.member(name) or store.is_hub_id(name)) and store.unfinished(name).is_dir():
        place = store.Place(name, "download", store.unfinished(name))
    if place is None:
        raise ModelMissing(f"{name}: not on this machine; `piying models list` shows what is")
    what = f"forget {place.name}, and leave {place.path}" if place.kind == "added" else f"delete {place.path}"
    if not yes and place.kind in ("added", "download") and not agreed(what):
        raise UsageError(f"{name}: kept; say --yes to {what}")
    store.remove(place)
    if as_json:
        terminal.answer({"removed": place.name, "kind": place.kind, "path": str(place.path)})
    else:
        typer.echo(f"{place.name}: {'forgotten' if place.kind == 'added' else 'deleted'}")


def agreed(what: str) -> bool:
    """The answer of a person; no where there is none to ask."""
    import sys

    if not sys.stdin.isatty():
        return False
    typer.echo(f"{what}? [y/N]: ", nl=False, err=True)
    answer = sys.stdin.readline()  # which is empty after Ctrl-D, and leaves Ctrl-C to its own
    if not answer:
        typer.echo(err=True)
    return answer.strip().lower() in ("y", "yes")


def tell_place(place: "Place", *, as_json: bool) -> None:
    if as_json:
        terminal.answer(describe_place(place))
    else:
        typer.echo(f"{place.name}: {place.path}")


def describe_place(place: "Place") -> dict[str, Any]:
    size = weigh(place.path) if place.path.exists() else None
    return {"name": place.name, "kind": place.kind, "path": str(place.path), "bytes": size}


def weigh(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def describe(source: "Source", path: Path) -> dict[str, Any]:
    """A model as data: sizes in bytes, parameters counted."""
    import json

    from piying.weights.hub.pull import RECORD

    config = source.config
    record = json.loads((path / RECORD).read_text("utf-8")) if (path / RECORD).is_file() else {}
    parts = {"transformer": source.transformer, "vae": source.vae, "text encoder": source.text}
    stored = [tensor for part in parts.values() for tensor in part.tensors.values()]
    return {
        "name": config.name,
        "hub": config.hub,
        "path": str(path),
        "tasks": list(config.tasks),
        "frames": config.frames,
        "size": list(config.size),
        "fps": config.fps,
        "parameters": {
            name: sum(prod(tensor.shape) for tensor in part.tensors.values()) for name, part in parts.items()
        },
        "precision": config.precision,
        "stored": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in stored}),
        "bytes": sum(tensor.nbytes for tensor in stored),
        "licence": record.get("licence") or config.licence,
        "revision": record.get("revision"),
    }
