"""A checkpoint in memory, read from wherever it lies and written to a folder in the layout of diffusers.

model_index.json  piying.json  transformer/  vae/  text_encoder/  tokenizer/  scheduler/
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError

from piying.config import ModelConfig, Weights
from piying.errors import PiyingError, UsageError
from piying.models.text import OVERFLOWS, TextEncoder, Tokenizer
from piying.models.transformer import Transformer
from piying.models.vae import VAE
from piying.weights import diffusers_layout, loose, safe, store, t5
from piying.weights.diffusers_layout import PARTS
from piying.weights.source import Source, open_folder

_SHARD = 2 * 10**9  # bytes; one that is converted is in memory while it is written


@dataclass(frozen=True)
class Checkpoint:
    """One model, whole. `words` are those that it learned, by language, where that is known."""

    config: ModelConfig
    transformer: Transformer
    vae: VAE
    text: TextEncoder
    tokenizer: Tokenizer
    words: dict[str, list[str]] | None = None
    weights: Weights = "full"

    @property
    def device(self) -> torch.device:
        return self.transformer.proj_out.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.transformer.proj_out.weight.dtype


def load(
    name_or_path: str | Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    waiting: bool = False,
    weights: Weights | None = None,
) -> Checkpoint:
    """Reads a checkpoint, ready to generate (evaluation mode, no gradients).

    A name, a hub id, a folder in the layout of diffusers, or a safetensors file of the transformer alone, which takes
    the rest from the member that it belongs to. `dtype` is the precision that the configuration names where not given.
    Weights stay memory-mapped where they need no change, and else go to `device` one tensor after the other. With
    `waiting` only the small parts of the transformer go there; its blocks, the autoencoder and the text encoder stay in
    the file until they are moved (see memory/place.py), and their values are not looked at. `weights` quantises them
    while they are read (see models/quant.py); None takes them as they lie.

    Raises ModelMissing where there is no model, PiyingError where it is broken or not of the family, UsageError for a
    `dtype` that it does not run in and for `weights` that lie quantised in another way.
    """
    source = open_source(store.find(name_or_path))
    dtype = dtype or getattr(torch, source.config.precision)
    if dtype == torch.float16 and source.config.precision == "bfloat16":
        raise UsageError(f"dtype=float16: {source.config.name} overflows in it and gives black videos; use bfloat16")
    tokenizer = Tokenizer.read(source.tokenizer)
    source.check()
    source = source.quantised(weights)
    if source.weights == "fp8" and torch.device(device).type == "mps":
        raise UsageError(f"weights=fp8: Apple's GPU has no such numbers; load {source.config.name} with int8")
    modules = []
    for _, module, part, names in source.parts():
        safe.fill(
            module,
            part.tensors,
            part.origin,
            device=device,
            dtype=dtype,
            names=names,
            float32=OVERFLOWS if isinstance(module, TextEncoder) and dtype == torch.float16 else None,
            waiting=("transformer_blocks." if isinstance(module, Transformer) else "") if waiting else None,
        )
        modules.append(module.requires_grad_(False).eval())
    transformer, vae, text = modules
    return Checkpoint(
        source.config,
        cast(Transformer, transformer),
        cast(VAE, vae),
        cast(TextEncoder, text),
        tokenizer,
        source.words,
        source.weights,
    )


def open_source(path: Path, *, allow_pickle: bool = False) -> Source:
    """A model at a path: a folder in the layout of diffusers, or a file of weights. Raises as `load`."""
    return loose.open_files([path]) if path.is_file() else open_folder(path, allow_pickle=allow_pickle)


def convert(source: Source, folder: Path, weights: Weights | None = None) -> None:
    """Writes a model that lies elsewhere as a folder, in the precision that its member was trained in, or quantised.

    No more than one shard is in memory. The folder appears whole or not at all. Raises as `load` and `save` do.
    """
    tokenizer = Tokenizer.read(source.tokenizer)
    source.check()
    source = source.quantised(weights)
    dtype = getattr(torch, source.config.precision)
    parts = source.parts()
    stored = [stored for _, _, part, _ in parts for stored in part.tensors.values()]
    room = sum(prod(tensor.shape) * tensor.kept_in(dtype).itemsize for tensor in stored)
    with whole(folder, room) as partial:
        _write_small(source.config, source.words, tokenizer, partial, source.weights)
        for name, _, part, _ in parts:
            safe.rewrite(part.tensors, partial / name, PARTS[name], _SHARD, dtype)


def weigh(name_or_path: str | Path) -> tuple[torch.dtype, int]:
    """The precision that a model names as its own, and how many parameters it has. Raises as `load`."""
    source = open_source(store.find(name_or_path))
    parts = (source.transformer, source.vae, source.text)
    count = sum(prod(stored.shape) for part in parts for stored in part.tensors.values())
    return getattr(torch, source.config.precision), count


def glance(name_or_folder: str | Path) -> tuple[ModelConfig, dict[str, list[str]] | None, Tokenizer]:
    """What a model is and how it reads, without its weights: configuration, words, tokenizer. Raises as `load`."""
    source = open_source(store.find(name_or_folder))
    return source.config, source.words, Tokenizer.read(source.tokenizer)


def save(
    checkpoint: Checkpoint,
    folder: Path,
    dtype: torch.dtype = torch.bfloat16,
    *,
    shard_bytes: int = _SHARD,
    replaces: bool = False,
) -> None:
    """Writes a checkpoint that `load` and diffusers read, in files of at most `shard_bytes`.

    The folder appears whole or not at all; with `replaces` it may take the place of a model. Raises UsageError where
    the folder holds something else, PiyingError where it cannot be written.
    """
    names = t5.names(checkpoint.config.text, scales=checkpoint.weights != "full")
    modules = (checkpoint.transformer, checkpoint.vae, checkpoint.text)
    stored = [tensor for module in modules for tensor in module.state_dict().values()]
    room = sum(tensor.numel() * (1 if tensor.itemsize == 1 else dtype.itemsize) for tensor in stored)
    with whole(folder, room, replaces=replaces) as partial:
        _write_small(checkpoint.config, checkpoint.words, checkpoint.tokenizer, partial, checkpoint.weights)
        for (part, stem), module in zip(PARTS.items(), modules, strict=True):
            tensors = {
                names.get(name, name) if module is checkpoint.text else name: (
                    tensor if tensor.dtype.itemsize == 1 else tensor.to(dtype)
                )
                for name, tensor in module.state_dict().items()
            }
            safe.write(tensors, partial / part, stem, shard_bytes)


@contextmanager
def whole(folder: Path, room: int, *, replaces: bool = False) -> Iterator[Path]:
    """A folder beside, which takes the place of `folder` when all went well, and disappears when not.

    Raises UsageError where `folder` holds anything, with `replaces` anything but a model, and PiyingError where fewer
    than `room` bytes are free.
    """
    folder = folder.resolve()  # "." has no name to stand beside
    holds = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if holds and not (replaces and (folder / "model_index.json").is_file()):
        raise UsageError(f"{folder}: exists already; choose a new folder")
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        if (free := shutil.disk_usage(partial).free) < room:
            raise PiyingError(f"{folder}: {free / 1e9:.1f} GB free there, {room / 1e9:.1f} GB are needed; make room")
        yield partial
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        raise PiyingError(f"{folder}: cannot be written ({error}); choose another place") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_small(
    config: ModelConfig, words: dict[str, list[str]] | None, tokenizer: Tokenizer, folder: Path, weights: Weights
) -> None:
    """All but the weights."""
    kind = "PreTrainedTokenizerFast" if "tokenizer.json" in tokenizer.files else "T5Tokenizer"
    diffusers_layout.write(config, words, kind, folder, weights)
    (folder / "tokenizer").mkdir()
    for name, content in tokenizer.files.items():
        (folder / "tokenizer" / name).write_bytes(content)
