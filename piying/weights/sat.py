"""The names and the layout of SAT, the code that the family was trained with, turned into the published ones.

The single files of ComfyUI keep SAT's names too. One tensor of SAT can hold several of the published ones, as rows
under each other: query, key and value; and the modulations of both norms of a block, in quarters.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from piying.config import TransformerConfig
from piying.errors import PiyingError
from piying.models.positions import sincos
from piying.weights.safe import Stored

_POSITIONS = "patch_embed.pos_embedding"


class Rows(NamedTuple):
    """A published tensor inside one of SAT: of so many equal parts, those with these numbers, under each other."""

    name: str
    parts: int = 1
    numbers: tuple[int, ...] = (0,)


_BLOCK = {  # of transformer.layers.N
    "input_layernorm": [Rows("norm1.norm")],
    "post_attention_layernorm": [Rows("norm2.norm")],
    "attention.query_key_value": [Rows(f"attn1.to_{part}", 3, (number,)) for number, part in enumerate("qkv")],
    "attention.dense": [Rows("attn1.to_out.0")],
    "mlp.dense_h_to_4h": [Rows("ff.net.0.proj")],
    "mlp.dense_4h_to_h": [Rows("ff.net.2")],
}
_ADAPTIVE = {  # of mixins.adaln_layer; the number of the block follows
    "query_layernorm_list": [Rows("attn1.norm_q")],
    "key_layernorm_list": [Rows("attn1.norm_k")],
    "adaLN_modulations": [Rows("norm1.linear", 4, (0, 2)), Rows("norm2.linear", 4, (1, 3))],
}
_WHOLE = {
    "mixins.patch_embed.proj": "patch_embed.proj",
    "mixins.patch_embed.text_proj": "patch_embed.text_proj",
    "mixins.final_layer.norm_final": "norm_out.norm",
    "mixins.final_layer.adaLN_modulation.1": "norm_out.linear",
    "mixins.final_layer.linear": "proj_out",
    "transformer.final_layernorm": "norm_final",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "ofs_embed.0": "ofs_embedding.linear_1",
    "ofs_embed.2": "ofs_embedding.linear_2",
}
_COMPUTED = {  # tables that no member learned
    "mixins.pos_embed.freqs_sin",
    "mixins.pos_embed.freqs_cos",
    "transformer.position_embeddings.weight",
    "transformer.word_embeddings.weight",
}
_VAE = (
    (re.compile(r"^encoder\.down\.(\d+)\.block\."), r"encoder.down_blocks.\1.resnets."),
    (re.compile(r"^encoder\.down\.(\d+)\.downsample\."), r"encoder.down_blocks.\1.downsamplers.0."),
    (re.compile(r"^decoder\.up\.(\d+)\.block\."), r"decoder.up_blocks.\1.resnets."),
    (re.compile(r"^decoder\.up\.(\d+)\.upsample\."), r"decoder.up_blocks.\1.upsamplers.0."),
    (re.compile(r"^((?:en|de)coder)\.mid\.block_1\."), r"\1.mid_block.resnets.0."),
    (re.compile(r"^((?:en|de)coder)\.mid\.block_2\."), r"\1.mid_block.resnets.1."),
    (re.compile(r"\.nin_shortcut\."), ".conv_shortcut."),
    # SAT counts the levels of the decoder from the pixels, the published files from the latents
    (re.compile(r"^decoder\.up_blocks\.(\d)\."), lambda found: f"decoder.up_blocks.{3 - int(found[1])}."),
)


def transformer(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """A transformer of SAT (names without model.diffusion_model) under published names.

    Raises PiyingError for a name that SAT does not have.
    """
    published = {}
    for name, stored in tensors.items():
        if name in _COMPUTED:
            continue
        for rows in _transformer_rows(name, stored):
            published[rows.name] = _part(stored, rows)
    return published


def vae(tensors: Mapping[str, Stored]) -> dict[str, Stored]:
    """An autoencoder of SAT under published names, without the networks of its training loss."""
    published = {}
    for name, stored in tensors.items():
        if not name.startswith("loss."):
            for pattern, replacement in _VAE:
                name = pattern.sub(replacement, name)
            published[name] = stored
    return published


def settle(tensors: dict[str, Stored], config: TransformerConfig) -> dict[str, Stored]:
    """A transformer of SAT for one member: SAT stores computed positions, and some of its versions a flat patch matrix.

    Raises PiyingError where stored positions are other than the member's.
    """
    settled = dict(tensors)
    if config.positions == "sincos" and (table := settled.pop(_POSITIONS, None)):
        expected = sincos(config.width, config.trained_grid, config.sincos_scale, torch.device("cpu"))
        found = table.take("cpu", torch.float32).flatten(0, -2)[-expected.shape[-2] :]
        if found.shape != expected.shape[-2:] or not torch.allclose(found, expected.flatten(0, -2), atol=0.01):
            raise PiyingError(f"{table.path}: {table.name} is not the table of sines that this model computes")
    patch = settled.get("patch_embed.proj.weight")
    if patch and config.patch[0] == 1 and len(patch.shape) == 2:
        shape = (patch.shape[0], config.in_channels, *config.patch[1:])
        if math.prod(shape) == math.prod(patch.shape):
            settled["patch_embed.proj.weight"] = replace(patch, shape=shape, read=lambda: patch.read().reshape(shape))
    return settled


def _transformer_rows(name: str, stored: Stored) -> list[Rows]:
    """Where the published tensors are that one of SAT holds."""
    if name == "mixins.pos_embed.pos_embedding":
        return [Rows(_POSITIONS)]
    module, _, kind = name.rpartition(".")
    if module in _WHOLE:
        return [Rows(f"{_WHOLE[module]}.{kind}")]
    if found := re.fullmatch(r"transformer\.layers\.(\d+)\.(.+)", module):
        number, rows = found[1], _BLOCK.get(found[2])
    elif found := re.fullmatch(r"mixins\.adaln_layer\.(\w+)\.(\d+)(\.1)?", module):
        number, rows = found[2], _ADAPTIVE.get(found[1])
    else:
        number, rows = "", None
    if rows is None:
        raise PiyingError(f"{stored.path}: the tensor {stored.name} belongs to no part of this model")
    return [row._replace(name=f"transformer_blocks.{number}.{row.name}.{kind}") for row in rows]


def _part(stored: Stored, rows: Rows) -> Stored:
    if rows.parts == 1:
        return stored
    height, left = divmod(stored.shape[0] if stored.shape else 0, rows.parts)
    if left or not height:
        raise PiyingError(f"{stored.path}: {stored.name} has the shape {stored.shape}: {rows.parts} parts do not fit")

    def read() -> Tensor:
        whole = stored.read()
        pieces = [whole[number * height : (number + 1) * height] for number in rows.numbers]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    return replace(stored, shape=(len(rows.numbers) * height, *stored.shape[1:]), read=read)
