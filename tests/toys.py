"""Members of the family with everything small and random weights, for tests that need a whole model."""

from dataclasses import replace
from typing import TypeVar

import tokenizers
import torch

from piying.config import ModelConfig
from piying.models import quant
from piying.models.text import TextEncoder, Tokenizer
from piying.models.transformer import Transformer
from piying.models.vae import VAE
from piying.weights import Checkpoint

Module = TypeVar("Module", bound=torch.nn.Module)
SIZE = (32, 48)
WORDS = ("a", "red", "boat", "fog")


def toy(member: ModelConfig, *, heads: int = 2) -> ModelConfig:
    """The configuration: 9 frames of SIZE, for 1.5 17 frames, whose 5 latent frames are filled up to 6."""
    frames = 17 if member.transformer.patch[0] == 2 else 9
    transformer = replace(
        member.transformer,
        layers=2,
        heads=heads,
        head_width=16,
        text_tokens=8,
        text_width=24,
        time_width=32,
        ofs_width=32 if member.transformer.ofs_width else None,
        latent_size=(SIZE[0] // 8, SIZE[1] // 8),
        frames=frames,
    )
    return replace(
        member,
        transformer=transformer,
        vae=replace(member.vae, channels=(8, 8, 16, 16), blocks=1, groups=4),
        text=replace(member.text, vocabulary=20, width=24, layers=2, heads=2, head_width=8, ff_width=32),
        frames=frames,
        size=SIZE,
        precision="float32",
    )


def toy_checkpoint(member: ModelConfig, *, heads: int = 2) -> Checkpoint:
    """The model, the same at each call; nothing in it is zero."""
    config = toy(member, heads=heads)
    torch.manual_seed(0)
    transformer, vae, text = Transformer(config.transformer), VAE(config.vae), TextEncoder(config.text)
    for module in (transformer, text):
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    for module in (transformer, vae, text):
        module.requires_grad_(False).eval()
    return Checkpoint(config, transformer, vae, text, tokenizer())


def quantised(module: Module, kind: quant.Quantised) -> Module:
    """The same, its weights now of eight bits."""
    for layer in quant.products(module).values():
        values, scale = quant.quantise(layer.weight, kind)
        layer.weight = torch.nn.Parameter(values, requires_grad=False)
        layer.weight_scale = scale.to(layer.bias.dtype if layer.bias is not None else torch.float32)
    return module


def tokenizer() -> Tokenizer:
    pieces = [(piece, -1.0) for piece in ("<pad>", "</s>", "<unk>", *(f"▁{word}" for word in WORDS))]
    model = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=2))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    model.post_processor = tokenizers.processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    return Tokenizer.from_json(model.to_str())
