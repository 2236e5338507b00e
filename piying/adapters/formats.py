"""Names of layers and tensors: what the world calls them, and what we do.

diffusers and peft  [base_model.model.][transformer.]transformer_blocks.0.attn1.to_q.lora_A[.default].weight
older diffusers     ... .to_q.lora.down.weight, .processor.to_q_lora.down.weight
kohya               lora_unet_transformer_blocks_0_attn1_to_q.lora_down.weight, .alpha, .dora_scale
                    (lora_unet__ by CogVideoX-Fun, lora_transformer_ by OneTrainer, lora_ and lycoris_ by others)
ComfyUI             diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight, .alpha, .dora_scale
SAT                 [model.diffusion_model.]transformer.layers.0.attention.query_key_value.matrix_A.1
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Part = Literal["down", "up", "magnitude", "alpha"]


class Naming(StrEnum):
    """Whose names a file uses."""

    diffusers = "diffusers"
    kohya = "kohya"
    comfyui = "comfyui"


_BLOCK = (
    "attn1.to_q",
    "attn1.to_k",
    "attn1.to_v",
    "attn1.to_out.0",
    "ff.net.0.proj",
    "ff.net.2",
    "norm1.linear",
    "norm2.linear",
)
_OUTER = (
    "patch_embed.proj",
    "patch_embed.text_proj",
    "time_embedding.linear_1",
    "time_embedding.linear_2",
    "ofs_embedding.linear_1",
    "ofs_embedding.linear_2",
    "norm_out.linear",
    "proj_out",
)
_WITH_UNDERSCORES = {name.replace(".", "_"): name for name in (*_BLOCK, *_OUTER)}

_PREFIX = re.compile(r"(base_model\.model\.)?(model\.diffusion_model\.|diffusion_model\.|transformer\.)?")
_KOHYA_PREFIXES = ("lora_unet__", "lora_unet_", "lora_transformer_", "lora_", "lycoris_")
_TEXT = re.compile(r"(base_model\.model\.)?(text_encoder(_\d)?|cond_stage_model|text_encoders)\.|lora_te\d?_")
_SAT = re.compile(
    r"(?:model\.diffusion_model\.)?transformer\.layers\.(\d+)\.attention\.(query_key_value|dense)\.matrix_([AB])\.(\d)"
)
_SAT_LAYERS = {
    ("query_key_value", "0"): "attn1.to_q",
    ("query_key_value", "1"): "attn1.to_k",
    ("query_key_value", "2"): "attn1.to_v",
    ("dense", "0"): "attn1.to_out.0",
}
_SUFFIXES: dict[str, Part] = {
    r"\.lora_A(\.\w+)?\.weight$": "down",
    r"\.lora_B(\.\w+)?\.weight$": "up",
    r"\.lora_magnitude_vector(\.\w+)*$": "magnitude",
    r"[._](lora|lora_linear_layer)\.down\.weight$": "down",
    r"[._](lora|lora_linear_layer)\.up\.weight$": "up",
    r"\.lora_down\.weight$": "down",
    r"\.lora_up\.weight$": "up",
    r"\.dora_scale$": "magnitude",
    r"\.alpha$": "alpha",
}
_OTHER_KINDS = {
    r"\.hada_": "LoHa",
    r"\.lokr_": "LoKr",
    r"\.b?oft_": "OFT",
    r"\.diff(_\w+)?$": "a file of whole differences",
    r"\.lora_mid\.": "a LoCon with a middle matrix",
    r"\.lora_embedding_": "a LoRA of embeddings",
    r"\.lora_B(\.\w+)?\.bias$": "a LoRA with biases",
    r"\.modules_to_save\.": "an adapter with whole layers",
}
_OTHER_MODELS = {
    "double_blocks": "Flux or HunyuanVideo",
    "single_blocks": "Flux or HunyuanVideo",
    "single_transformer_blocks": "Flux",
    "down_blocks": "Stable Diffusion",
    "up_blocks": "Stable Diffusion",
    "mid_block": "Stable Diffusion",
    "input_blocks": "Stable Diffusion",
    "output_blocks": "Stable Diffusion",
    "joint_blocks": "Stable Diffusion 3",
    "self_attn": "Wan or another model",
    "attn2": "LTX-Video or another model with cross-attention",
}


@dataclass(frozen=True)
class Place:
    """Where a tensor belongs: a module of our transformer, and which part of its change it is."""

    module: str
    part: Part


def place(key: str) -> Place | str:
    """Where the tensor of this name belongs, or the reason why it belongs nowhere."""
    if found := _SAT.fullmatch(key):
        block, group, matrix, index = found.groups()
        if layer := _SAT_LAYERS.get((group, index)):
            return Place(f"transformer_blocks.{block}.{layer}", "down" if matrix == "A" else "up")
    if _TEXT.match(key):
        return (
            f"{key} changes the text encoder, and Piying adapts the transformer alone; train without the text encoder"
        )
    for sign, kind in _OTHER_KINDS.items():
        if re.search(sign, key):
            return f"{key} belongs to {kind}; Piying reads LoRA and DoRA"
    for pattern, part in _SUFFIXES.items():
        if found := re.search(pattern, key):
            layer_name = key[: found.start()]
            module = _module(layer_name)
            return Place(module, part) if module else _foreign(layer_name)
    return f"{key} is no tensor of a LoRA"


def sat_named(key: str) -> bool:
    return bool(_SAT.fullmatch(key))


def name(module: str, part: Part, naming: Naming) -> str:
    """The published name of a tensor."""
    if naming is Naming.kohya:
        suffixes = {"down": "lora_down.weight", "up": "lora_up.weight", "magnitude": "dora_scale", "alpha": "alpha"}
        return f"lora_unet_{module.replace('.', '_')}.{suffixes[part]}"
    magnitude = "lora_magnitude_vector" if naming is Naming.diffusers else "dora_scale"
    prefix = "transformer" if naming is Naming.diffusers else "diffusion_model"
    suffixes = {"down": "lora_A.weight", "up": "lora_B.weight", "magnitude": magnitude, "alpha": "alpha"}
    return f"{prefix}.{module}.{suffixes[part]}"


def _module(text: str) -> str | None:
    """A layer as the world calls it -> our module, None where we have no such layer."""
    text = re.sub(r"to_out$", "to_out.0", text.replace(".processor.", "."))  # both of older names alone
    prefix = _PREFIX.match(text)
    candidates = [text[prefix.end() :] if prefix else text]
    candidates += [text.removeprefix(prefix) for prefix in _KOHYA_PREFIXES if text.startswith(prefix)]
    for candidate in candidates:
        flat = candidate.replace(".", "_")
        if found := re.fullmatch(r"transformer_blocks_(\d+)_(.+)", flat):
            layer = _WITH_UNDERSCORES.get(found[2])
            if layer in _BLOCK:
                return f"transformer_blocks.{int(found[1])}.{layer}"
        elif (layer := _WITH_UNDERSCORES.get(flat)) in _OUTER:
            return layer
    return None


def _foreign(layer: str) -> str:
    for sign, model in _OTHER_MODELS.items():
        if sign in layer:
            return f"{layer} is no layer of CogVideoX; this adapter is for {model}"
    return f"{layer} is no layer of CogVideoX"
