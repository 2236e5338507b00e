"""`piying adapters ...`: LoRA files, kept by name, described, merged and converted."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from piying.adapters.formats import Naming
from piying.cli import terminal
from piying.errors import PiyingError, UsageError

if TYPE_CHECKING:
    from piying.adapters.adapter import Adapter

app = typer.Typer(help="LoRA files: keep, describe, merge, convert.", rich_markup_mode=None)

Source = Annotated[str, typer.Argument(help="A file, a folder, or the name of an added one.")]
Alpha = Annotated[float | None, typer.Option(help="What it was trained with, where the file does not say so.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """The adapters that were added."""
    from piying.adapters import file, store

    facts: dict[str, dict[str, Any]] = {}
    for name, path in store.added().items():
        try:
            facts[name] = describe(file.read(path, checked=True), path)
        except PiyingError as error:  # one broken file hides no other
            facts[name] = {"file": str(path), "error": str(error)}
    if as_json:
        terminal.answer({"adapters": facts})
        return
    for name, fact in facts.items():
        typer.echo(f"{name}: {fact.get('error') or summary(fact)}")
    if not facts:
        terminal.say("none yet; add one with `piying adapters add FILE`")


@app.command()
def add(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A safetensors file, or a folder with one.")],
    name: Annotated[str | None, typer.Option(help="What to call it; else its own name.")] = None,
    alpha: Alpha = None,
    trigger: Annotated[list[str] | None, typer.Option(help="A word that calls it up; may be given again.")] = None,
    alias: Annotated[
        list[str] | None, typer.Option(metavar="WORD=NAME", help="A word that stands for a name, e.g. 大娃=DaWa.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Keep an adapter by name, for `piying generate --adapter NAME`."""
    from dataclasses import replace

    from piying.adapters import file, store

    path = file.locate(source)
    adapter = with_alpha(file.read(path), alpha)
    adapter = replace(
        adapter,
        triggers=tuple(dict.fromkeys([*adapter.triggers, *(trigger or [])])),
        aliases={**adapter.aliases, **read_aliases(alias or [])},
    )
    usual = path.stem in ("pytorch_lora_weights", "adapter_model")  # names that say nothing
    name = name or (path.resolve().parent.name if usual else path.stem)
    tell(adapter, store.add(adapter, name), f"added {name}", as_json)


@app.command()
def info(source: Source, as_json: AsJson = False) -> None:
    """What a file holds and what it is for."""
    from piying.adapters import file, store

    path = store.locate(source)
    fact = describe(file.read(path), path)
    if as_json:
        terminal.answer(fact)
        return
    for key, value in fact.items():
        if value not in (None, [], {}) and value is not False:
            typer.echo(f"{key.replace('_', ' ')}: {_words(value)}")


@app.command()
def rm(name: Annotated[str, typer.Argument(help="The name of an added adapter.")], as_json: AsJson = False) -> None:
    """Delete an added adapter."""
    from piying.adapters import store

    path = store.remove(name)
    if as_json:
        terminal.answer({"removed": str(path)})
    else:
        typer.echo(f"removed {path}")


@app.command()
def merge(
    source: Annotated[list[str], typer.Argument(metavar="FILE_OR_NAME[:WEIGHT]...", help="One or several adapters.")],
    model: Annotated[str, typer.Option(help="The base: a name, or a folder in the layout of diffusers.")],
    out: Annotated[Path, typer.Option(help="The folder of the new model.")],
    as_json: AsJson = False,
) -> None:
    """Fold adapters into a copy of their base: a model of its own."""
    from piying import weights
    from piying.adapters import file, store
    from piying.adapters.advice import doubts
    from piying.adapters.attach import fingerprint
    from piying.adapters.merge import merge as fold
    from piying.request import AdapterUse

    uses = [AdapterUse.model_validate(text) for text in source]
    pairs = [(file.read(store.locate(use.source)), 1.0 if use.weight is None else use.weight) for use in uses]
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"out={out}: exists already; choose a new folder")
    terminal.say(f"loading {model}")
    checkpoint = weights.load(model)
    sha256 = cache(lambda: fingerprint(checkpoint.transformer))
    for use, (adapter, _) in zip(uses, pairs, strict=True):
        for line in doubts(use.source, adapter, checkpoint.config.name, sha256):
            terminal.say(line)
    fold(checkpoint.transformer, pairs)
    weights.save(checkpoint, out, checkpoint.transformer.proj_out.weight.dtype)
    if as_json:
        terminal.answer({"model": str(out), "adapters": [use.model_dump(mode="json") for use in uses]})
    else:
        typer.echo(f"{out}: {model} with {', '.join(map(str, uses))}")


@app.command()
def convert(
    source: Source,
    out: Annotated[Path, typer.Argument(help="A new safetensors file.")],
    naming: Annotated[Naming, typer.Option("--to", help="Whose names; diffusers' are peft's.")] = Naming.diffusers,
    alpha: Alpha = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read a .bin or .pt file; only its tensors are taken.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write an adapter in the names of another program."""
    from piying.adapters import file, store
    from piying.weights import safe

    if out.exists():
        raise UsageError(f"{out}: exists already; choose another name")
    path = store.locate(source)
    read = file.read_pickle if allow_pickle and path.suffix in safe.PICKLES else file.read
    adapter = with_alpha(read(path), alpha)
    file.write(adapter, out, naming)  # type: ignore[arg-type]  # checked above
    if adapter.kind == "DoRA" and naming != "diffusers":
        terminal.say(
            "DoRA in these names: programs differ in the norm they take; compare a video before you rely on it"
        )
    tell(adapter, out, f"{out} ({naming.value})", as_json)


def with_alpha(adapter: "Adapter", alpha: float | None) -> "Adapter":
    """The alpha that a person knows takes the place of the one that a file says or not."""
    from math import isfinite

    from piying.adapters import file

    if alpha is None:
        return adapter
    if not (isfinite(alpha) and alpha > 0):
        raise UsageError(f"alpha={alpha}: use a number above zero, e.g. 64")
    return file.with_alpha(adapter, alpha)


def read_aliases(texts: list[str]) -> dict[str, str]:
    """大娃=DaWa -> {"大娃": "DaWa"}."""
    aliases = {}
    for text in texts:
        word, equals, name = (part.strip() for part in text.partition("="))
        if not (word and equals and name):
            raise UsageError(f"alias={text}: write WORD=NAME, e.g. 大娃=DaWa")
        aliases[word] = name
    return aliases


def describe(adapter: "Adapter", path: Path) -> dict[str, Any]:
    """An adapter as the one JSON object."""
    return {
        "file": str(path),
        "kind": adapter.kind,
        "rank": adapter.ranks,
        "alpha": adapter.alphas,
        "alpha_assumed": adapter.assumed,
        "layers": len(adapter.layers),
        "blocks": adapter.blocks,
        "width": adapter.width,
        "base": adapter.base,
        "base_sha256": adapter.base_sha256,
        "triggers": list(adapter.triggers),
        "aliases": dict(adapter.aliases),
        "only_named": adapter.only_named,
    }


def summary(fact: dict[str, Any]) -> str:
    numbers = f"{fact['kind']}, rank {_words(fact['rank'])}, alpha {_words(fact['alpha'])}, {fact['layers']} layers"
    base = f", for {fact['base']}" if fact["base"] else f", width {fact['width']}" if fact["width"] else ""
    words = f", listens {'only ' * fact['only_named']}to {_words(fact['triggers'])}" if fact["triggers"] else ""
    return numbers + base + words


def tell(adapter: "Adapter", path: Path, done: str, as_json: bool) -> None:
    """What came of it, and what was assumed."""
    from piying.adapters.advice import ASSUMED

    fact = describe(adapter, path)
    if adapter.assumed:
        terminal.say(ASSUMED.format(adapter.assumed))
    if as_json:
        terminal.answer(fact)
    else:
        typer.echo(f"{done}: {summary(fact)}")


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{word} -> {name}" for word, name in value.items())
    if isinstance(value, list):
        return ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value)
    return str(value)
