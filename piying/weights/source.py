"""A model where it lies on disk, whole and checked by its headers, with nothing of it in memory yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from piying.config import ModelConfig
from piying.models.text import TextEncoder
from piying.models.transformer import Transformer
from piying.models.vae import VAE
from piying.weights import diffusers_layout, safe, t5
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

    def parts(self) -> list[tuple[str, nn.Module, Part, dict[str, str]]]:
        """Each network: its folder in the layout of diffusers, the module on the meta device, its tensors, and its
        published names where they are not ours."""
        with torch.device("meta"):
            transformer, vae = Transformer(self.config.transformer), VAE(self.config.vae)
            text = TextEncoder(self.config.text)
        return [
            ("transformer", transformer, self.transformer, {}),
            ("vae", vae, self.vae, {}),
            ("text_encoder", text, self.text, t5.names(self.config.text)),
        ]

    def check(self) -> None:
        """Raises PiyingError where a tensor is missing, unknown or of another shape than the configuration says."""
        for _, module, part, names in self.parts():
            safe.check(module, part.tensors, part.origin, names)


def open_folder(folder: Path) -> Source:
    """A folder in the layout of diffusers, whose own configuration counts.

    Raises ModelMissing and PiyingError as `diffusers_layout.read` and `safe.locate` do.
    """
    config, words = diffusers_layout.read(folder)
    parts = {
        name: Part(safe.locate(folder / name, stem), folder / name) for name, stem in diffusers_layout.PARTS.items()
    }
    text = parts["text_encoder"]
    return Source(
        config,
        words,
        parts["transformer"],
        parts["vae"],
        Part(t5.untie(dict(text.tensors)), text.origin),
        folder / "tokenizer",
    )
