"""Adapters from files and to files, whatever names they use; see formats.py."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from piying.adapters import alpha, formats
from piying.adapters.adapter import Adapter, Layer
from piying.adapters.formats import Naming, Part
from piying.errors import ModelMissing, PiyingError, UsageError
from piying.weights import pickled, safe
from piying.weights.safe import Stored

_OWN = "piying"  # our entry in a file's metadata
_USUAL = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")


def read(path: str | Path, *, checked: bool = False) -> Adapter:
    """The adapter in a safetensors file, or in a folder that peft or a trainer wrote.

    Of one that was `checked` before, the values stay on disk until they are used.

    Raises ModelMissing where there is none, and PiyingError, one line, where the file is broken, is a pickle, or holds
    something else than a LoRA or DoRA of a CogVideoX transformer.
    """
    path = locate(path)
    if path.suffix in safe.PICKLES:
        raise PiyingError(
            f"{path}: a pickle, which may run code when it is opened; if you trust it, make it safe once: "
            f"piying adapters convert {path} {path.stem}.safetensors --allow-pickle"
        )
    return _adapter(path, safe.contents(path), safe.metadata(path), checked)


def read_pickle(path: Path) -> Adapter:
    """The adapter in a pickle, read by torch's restricted loader, which runs no code. Raises as `read` does."""
    tensors = pickled.contents(path)
    if any(map(formats.sat_named, tensors)):  # SAT saves the whole model around them
        tensors = {name: stored for name, stored in tensors.items() if formats.sat_named(name)}
    return _adapter(path, tensors, {}, checked=False)


def write(adapter: Adapter, path: Path, naming: Naming = Naming.diffusers) -> None:
    """Writes the adapter with all that is known of it; the file appears under its name only when it is whole.

    diffusers reads alpha from the file's metadata (0.34 and later), the other namings hold it beside each layer.
    Raises UsageError for a name that is no safetensors file, PiyingError where the disk refuses.
    """
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: use a name that ends in .safetensors")
    tensors: dict[str, Tensor] = {}
    for module, layer in adapter.layers.items():
        parts: dict[Part, Tensor | None] = {"down": layer.down, "up": layer.up, "magnitude": layer.magnitude}
        if naming is not Naming.diffusers:
            parts["alpha"] = torch.tensor(layer.alpha, dtype=torch.float32)
            if layer.magnitude is not None:
                parts["magnitude"] = layer.magnitude.reshape(-1, 1)
        tensors |= {formats.name(module, part, naming): tensor for part, tensor in parts.items() if tensor is not None}
    own = {
        "rank": adapter.ranks,
        "alpha": adapter.alphas,
        "base": adapter.base,
        "base_sha256": adapter.base_sha256,
        "triggers": list(adapter.triggers),
        "aliases": dict(adapter.aliases),
        "assumed": adapter.assumed,
        "only_named": adapter.only_named,
    }
    metadata = {_OWN: json.dumps(own, ensure_ascii=False)}
    if naming is Naming.diffusers:
        metadata[alpha.DIFFUSERS] = json.dumps(_peft_config(adapter))
    safe.write_file(tensors, path, metadata)


def with_alpha(adapter: Adapter, value: float) -> Adapter:
    """The same adapter with this alpha in every layer."""
    layers = {module: replace(layer, alpha=value) for module, layer in adapter.layers.items()}
    return replace(adapter, layers=layers, assumed=None)


def locate(path: str | Path) -> Path:
    """The file itself, or the one adapter in a folder. Raises ModelMissing or UsageError."""
    path = Path(path)
    if not path.is_dir():
        return path
    found = [path / name for name in _USUAL if (path / name).is_file()] or sorted(path.glob("*.safetensors"))
    found = found or [file for file in sorted(path.iterdir()) if file.suffix in safe.PICKLES]
    if not found:
        raise ModelMissing(f"{path}: no adapter in this folder; name a safetensors file")
    if len(found) > 1:
        raise UsageError(f"{path}: several adapters ({', '.join(file.name for file in found)}); name one of the files")
    return found[0]


def _adapter(path: Path, tensors: Mapping[str, Stored], metadata: Mapping[str, str], checked: bool) -> Adapter:
    parts: dict[str, dict[Part, Tensor]] = {}
    for key, stored in tensors.items():
        place = formats.place(key)
        if isinstance(place, str):
            raise PiyingError(f"{path}: {place}")
        of_module = parts.setdefault(place.module, {})
        if place.part in of_module:
            raise PiyingError(f"{path}: two tensors for {place.module}, the second is {key}; keep one adapter a file")
        of_module[place.part] = stored.read() if checked else stored.take("cpu", stored.dtype)
    if not parts:
        raise PiyingError(f"{path}: holds no adapter")
    said = alpha.find(path, metadata)
    if said is None and any(map(formats.sat_named, tensors)):
        said = alpha.SAT
    layers = {module: _layer(path, module, of_module, said) for module, of_module in sorted(parts.items())}
    return Adapter(layers, **_own(path, metadata, said, any("alpha" in of_module for of_module in parts.values())))


def _layer(path: Path, module: str, parts: Mapping[Part, Tensor], said: alpha.Said | None) -> Layer:
    for part, label in (("down", "A (down)"), ("up", "B (up)")):
        if part not in parts:
            raise PiyingError(f"{path}: {module} has half a pair, {label} is missing; fetch or train it again")
    down, up, magnitude = parts["down"], parts["up"], parts.get("magnitude")
    if down.ndim != up.ndim or down.ndim not in (2, 4):
        raise PiyingError(f"{path}: {module} has shapes {tuple(down.shape)} and {tuple(up.shape)}, which make no LoRA")
    rank = down.shape[0]
    if rank != up.shape[1]:
        raise PiyingError(f"{path}: the ranks of {module} disagree, A has {rank} and B has {up.shape[1]}")
    if magnitude is not None:
        if (magnitude.ndim == 2 and magnitude.shape[1] > 1) or magnitude.numel() != up.shape[0]:
            raise PiyingError(
                f"{path}: the magnitudes of {module} have the shape {tuple(magnitude.shape)}; DoRA as peft has it "
                f"keeps one for each of the {up.shape[0]} outputs"
            )
        magnitude = magnitude.flatten()
    value = said.of(module, rank) if said else float(rank)
    if "alpha" in parts:
        if parts["alpha"].numel() != 1:
            raise PiyingError(f"{path}: the alpha of {module} is not one number")
        value = float(parts["alpha"])
    return Layer(down, up, value, magnitude)


def _own(path: Path, metadata: Mapping[str, str], said: alpha.Said | None, beside: bool) -> dict[str, Any]:
    """What our own metadata tells, and what was assumed."""
    assumed = None if beside else "alpha = rank, as diffusers does" if said is None else said.assumed
    if _OWN not in metadata:
        phrase = metadata.get("modelspec.trigger_phrase", "").strip()
        return {"triggers": (phrase,) if phrase else (), "assumed": assumed}
    try:
        own = json.loads(metadata[_OWN])
        told = {
            "base": own["base"],
            "base_sha256": own["base_sha256"],
            "triggers": tuple(own["triggers"]),
            "aliases": dict(own["aliases"]),
            "assumed": own["assumed"],
            "only_named": own.get("only_named", False),
        }
        texts = [*told["triggers"], *told["aliases"].keys(), *told["aliases"].values()]
        if not all(isinstance(text, str) and text for text in texts):
            raise TypeError
        if not all(isinstance(told[name], str | None) for name in ("base", "base_sha256", "assumed")):
            raise TypeError
        if not isinstance(told["only_named"], bool):
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise PiyingError(f"{path}: what it says of itself cannot be read; write the adapter again") from error
    return told


def _peft_config(adapter: Adapter) -> dict[str, Any]:
    """The configuration of peft that makes these layers, as diffusers keeps it."""
    layers = dict(sorted(adapter.layers.items()))  # one order, one file
    rank = Counter(layer.rank for layer in layers.values()).most_common(1)[0][0]
    common = Counter(layer.alpha for layer in layers.values()).most_common(1)[0][0]
    values = {
        "r": rank,
        "lora_alpha": common,
        "rank_pattern": {f"^{module}": layer.rank for module, layer in layers.items() if layer.rank != rank},
        "alpha_pattern": {f"^{module}": layer.alpha for module, layer in layers.items() if layer.alpha != common},
        "target_modules": list(layers),
        "use_dora": adapter.kind == "DoRA",
        "lora_bias": False,
    }
    return {f"transformer.{key}": value for key, value in values.items()}
