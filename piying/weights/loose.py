"""Loose files: one network or several in a file, under the published names or SAT's, with any prefix.

What a network is, is told by a tensor that it must have; which member of the family a transformer is, by its shapes.
What the files lack comes from another model on this machine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Literal

from piying.config import FAMILY, ModelConfig, TransformerConfig
from piying.errors import ModelMissing, PiyingError, UsageError
from piying.weights import pickled, safe, sat, store, t5
from piying.weights.safe import Stored
from piying.weights.source import Part, Source, open_folder

PartName = Literal["transformer", "vae", "text"]
Tensors = dict[str, Stored]


@dataclass(frozen=True)
class _Mark:
    """A tensor that tells a network and its naming, and what turns its names into the published ones."""

    name: str
    part: PartName
    translate: Callable[[Mapping[str, Stored]], Tensors]


_MARKS = (  # a name that ends in another stands before it
    _Mark("mixins.patch_embed.text_proj.weight", "transformer", sat.transformer),
    _Mark("patch_embed.text_proj.weight", "transformer", dict),
    _Mark("encoder.mid.block_1.conv1.conv.weight", "vae", sat.vae),
    _Mark("encoder.mid_block.resnets.0.conv1.conv.weight", "vae", dict),
    _Mark("encoder.block.0.layer.0.SelfAttention.q.weight", "text", lambda tensors: t5.untie(dict(tensors))),
)


@dataclass
class _Found:
    """What the files hold so far."""

    parts: dict[PartName, Part] = field(default_factory=dict)
    tokenizer: Path | None = None


def open_files(paths: Sequence[Path], base: str | Path | None = None, *, allow_pickle: bool = False) -> Source:
    """A model from safetensors files, from pickles where these are allowed, and from folders that hold such files.

    `base` names the model whose configuration counts and that gives what the files lack; else it is the member of the
    family that has the shapes of the transformer. Raises UsageError for a pickle that is not allowed, ModelMissing
    where something is lacking, PiyingError for files of another model.
    """
    found = _Found()
    for path in paths:
        if not path.exists():
            raise ModelMissing(f"{path}: no such file or folder")
        for folder in [path, *_folders(path)] if path.is_dir() else []:
            _gather_folder(found, folder, allow_pickle)
        if path.is_file():
            _gather(found, path, _contents(path, allow_pickle))
    if not found.parts:
        raise PiyingError(f"{', '.join(map(str, paths))}: no weights of the CogVideoX family there")
    return _complete(found, base)


def _complete(found: _Found, base: str | Path | None) -> Source:
    transformer = found.parts.get("transformer")
    if base is None:
        if transformer is None:
            raise UsageError("base: no transformer is in the files; name the model that has it with --base")
        base = recognise(transformer).name
    whole = len(found.parts) == 3 and found.tokenizer
    if whole and str(base) in FAMILY and not store.known(str(base)):
        config, words, others = FAMILY[str(base)], None, None
    else:
        others = _open_base(base, found)
        config, words = others.config, others.words
    if transformer is not None:
        tensors = sat.settle(dict(transformer.tensors), config.transformer)
        found.parts["transformer"] = replace(transformer, tensors=tensors)
    given: dict[PartName, Part] = (
        {} if others is None else {"transformer": others.transformer, "vae": others.vae, "text": others.text}
    )
    parts = given | found.parts
    tokenizer = found.tokenizer or (others.tokenizer if others else Path())
    return Source(config, words, parts["transformer"], parts["vae"], parts["text"], tokenizer)


def _open_base(base: str | Path, found: _Found) -> Source:
    try:
        source = open_folder(store.find(base))
        if source.weights != "full":
            raise UsageError(f"base={base}: holds {source.weights} weights; name one that holds full ones")
        return source
    except PiyingError as error:
        names = {"transformer": "the transformer", "vae": "the autoencoder", "text": "the text encoder"}
        lacking = [name for part, name in names.items() if part not in found.parts]
        lacking += [] if found.tokenizer else ["the tokenizer"]
        said = f"{' and '.join(lacking)} must come from another model: " if lacking else ""
        raise type(error)(f"{said}{error}") from error


def recognise(transformer: Part) -> ModelConfig:
    """The member of the family that has the shapes of a transformer. Raises PiyingError where none has."""
    facts = _facts(transformer)
    for config in FAMILY.values():
        if _expected(config.transformer, "patch_embed.pos_embedding" in transformer.tensors) == facts:
            return config
    layers, width, _, cells, ofs = facts
    raise PiyingError(
        f"{transformer.origin}: {layers} layers of width {width}, {cells} values in a patch"
        f"{', an offset' if ofs else ''}: no member of the family is built so; name a model that is with --base"
    )


def _facts(transformer: Part) -> tuple[int, int, int, int, bool]:
    """Layers, width, width of a head, values in a patch, whether there is an offset embedding."""
    tensors = transformer.tensors
    try:
        numbers = [int(name.split(".")[1]) for name in tensors if name.startswith("transformer_blocks.")]
        patch = tensors["patch_embed.proj.weight"].shape
        head = tensors["transformer_blocks.0.attn1.norm_q.weight"].shape[0]
    except (KeyError, ValueError, IndexError) as error:
        raise PiyingError(f"{transformer.origin}: not a whole transformer of the family; fetch it again") from error
    return max(numbers) + 1, patch[0], head, prod(patch[1:]), "ofs_embedding.linear_1.weight" in tensors


def _expected(config: TransformerConfig, has_table: bool) -> tuple[int, int, int, int, bool] | None:
    """The same of a member; None where a table of positions tells it apart."""
    if config.positions != "sincos" and has_table != (config.positions == "rope+learned"):
        return None
    cells = config.in_channels * prod(config.patch)
    return config.layers, config.width, config.head_width, cells, config.ofs_width is not None


def _folders(path: Path) -> list[Path]:
    """The folders inside, and of the states of a training only the latest."""
    latest = path / "latest"
    names = [latest.read_text("utf-8").strip()] if latest.is_file() else []
    inside = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and (not names or folder.name in names)]
    return [found for folder in inside for found in (folder, *_folders(folder))]


def _gather_folder(found: _Found, folder: Path, allow_pickle: bool) -> None:
    """Adds the networks of one folder: shards by their index, else each file; pickles where nothing else is there."""
    if any((folder / name).is_file() for name in ("tokenizer.json", "spiece.model")):
        found.tokenizer = folder
    if second := next(folder.glob("mp_rank_01_*"), None):
        raise PiyingError(f"{second}: weights that are split over several GPUs; merge them with SAT first")
    if index := next(folder.glob("*.safetensors.index.json"), None):
        _gather(found, folder, safe.locate(folder, index.name.removesuffix(".safetensors.index.json")))
        return
    files = sorted(folder.glob("*.safetensors")) or [
        file for file in sorted(folder.iterdir()) if file.suffix in safe.PICKLES and "optim_states" not in file.name
    ]
    for file in files:
        _gather(found, file, _contents(file, allow_pickle))


def _contents(file: Path, allow_pickle: bool) -> Tensors:
    if file.suffix not in safe.PICKLES:
        return safe.contents(file)
    if not allow_pickle:
        raise UsageError(f"{file}: a pickle, which may run code; if you trust it, use `piying convert --allow-pickle`")
    return pickled.contents(file)


def _gather(found: _Found, origin: Path, tensors: Tensors) -> None:
    """Adds the networks that these tensors are."""
    rest = dict(tensors)
    for mark in _MARKS:
        marked = next((name for name in rest if name.endswith(mark.name)), None)
        if marked is None:
            continue
        prefix = marked.removesuffix(mark.name)
        mine = {name.removeprefix(prefix): rest.pop(name) for name in list(rest) if name.startswith(prefix)}
        if mark.part in found.parts:
            raise PiyingError(f"{origin}: {found.parts[mark.part].origin} holds the same network; name one of the two")
        found.parts[mark.part] = Part(mark.translate(mine), origin)
    if rest:
        raise PiyingError(f"{origin}: the tensor {next(iter(rest))} belongs to no part of a CogVideoX model")
