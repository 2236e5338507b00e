"""A model where it lies on disk, whole and checked by its headers, with nothing of it in memory yet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from piying.config import ModelConfig, Weights
from piying.errors import ModelMissing, UsageError
from piying.models.quant import SCALE, TYPES, Quantised, groups, prepare, products, quantise, scales
from piying.models.text import TextEncoder
from piying.models.transformer import Transformer
from piying.models.vae import VAE
from piying.weights import diffusers_layout, pickled, safe, t5
from piying.weights.safe import Stored


@dataclass(frozen=True)
class Part:
    """The tensors of one network under their published names, and where they are from."""

    tensors: Mapping[str, Stored]
    origin: Path


@dataclass(frozen=True)
class Source:
    """One model. `words` are those that it learned, by language, where that is known."""

    config: ModelConfig
    words: dict[str, list[str]] | None
    transformer: Part
    vae: Part
    text: Part
    tokenizer: Path  # a folder
    weights: Weights = "full"

    def quantised(self, weights: Weights | None) -> "Source":
        """The same with weights of a kind, each quantised when it is read; None leaves them as they lie.

        To be checked before. Raises UsageError where they lie quantised in another way.
        """
        if weights in (None, self.weights):
            return self
        if self.weights != "full" or weights == "full":
            raise UsageError(f"weights={weights}: {self.transformer.origin} holds {self.weights}; leave it out")
        (_, transformer, *_), _, (_, text, *_) = self.parts()
        names = t5.names(self.config.text, scales=True)
        return replace(
            self,
            transformer=_quantised(self.transformer, products(transformer), {}, weights),
            text=_quantised(self.text, products(text), names, weights),
            weights=weights,
        )

    def parts(self) -> list[tuple[str, nn.Module, Part, dict[str, str]]]:
        """Each network: its folder in the layout of diffusers, the module on the meta device, its tensors, and its
        published names where they are not ours."""
        with torch.device("meta"):
            transformer, vae = Transformer(self.config.transformer), VAE(self.config.vae)
            text = TextEncoder(self.config.text)
        if self.weights != "full":
            prepare(transformer, self.weights)
            prepare(text, self.weights)
        return [
            ("transformer", transformer, self.transformer, {}),
            ("vae", vae, self.vae, {}),
            ("text_encoder", text, self.text, t5.names(self.config.text, scales=self.weights != "full")),
        ]

    def check(self) -> None:
        """Raises PiyingError where a tensor is missing, unknown or of another shape than the configuration says."""
        for _, module, part, names in self.parts():
            safe.check(module, part.tensors, part.origin, names)


def open_folder(folder: Path, *, allow_pickle: bool = False) -> Source:
    """A folder in the layout of diffusers, whose own configuration counts; its parts may be pickles where allowed.

    Raises ModelMissing and PiyingError as `diffusers_layout.read` and `safe.locate` do.
    """
    config, words = diffusers_layout.read(folder)
    weights = diffusers_layout.read_weights(folder)
    parts = {}
    for name, stem in diffusers_layout.PARTS.items():
        quantised = weights != "full" and name in diffusers_layout.QUANTISED
        try:
            tensors = safe.locate(folder / name, stem, quantised=quantised)
        except ModelMissing:
            if not (allow_pickle and (tensors := _pickled(folder / name))):
                raise
        parts[name] = Part(tensors, folder / name)
    text = parts["text_encoder"]
    return Source(
        config,
        words,
        parts["transformer"],
        parts["vae"],
        Part(t5.untie(dict(text.tensors)), text.origin),
        folder / "tokenizer",
        weights,
    )


def _pickled(folder: Path) -> dict[str, Stored]:
    """The tensors of one network from a folder's .bin files as diffusers and transformers name them."""
    paths = [*folder.glob("*pytorch_model.bin"), *folder.glob("*pytorch_model-*-of-*.bin")]
    return {name: stored for path in sorted(paths) for name, stored in pickled.contents(path).items()}


def _quantised(part: Part, layers: Iterable[str], names: Mapping[str, str], kind: Quantised) -> Part:
    """A part whose layers are quantised when they are read. `names` are published ones, where they are not ours."""
    tensors = dict(part.tensors)
    for layer in layers:
        weight, scale = (names.get(f"{layer}.{name}", f"{layer}.{name}") for name in ("weight", "weight_scale"))
        full, (rows, columns) = tensors[weight], tensors[weight].shape
        values = partial(_quantise, full, kind)
        tensors[weight] = replace(full, dtype=TYPES[kind], read=values, quantised=True)
        tensors[scale] = replace(
            full,
            name=f"{full.name}_scale",
            shape=(rows, groups(columns, kind)),
            dtype=SCALE,
            read=partial(_scales, full, kind),
        )
    return replace(part, tensors=tensors)


def _quantise(full: Stored, kind: Quantised) -> Tensor:
    return quantise(full.read(), kind)[0]


def _scales(full: Stored, kind: Quantised) -> Tensor:
    return scales(full.read(), kind)
