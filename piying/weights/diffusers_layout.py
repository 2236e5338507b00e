"""A folder in the layout of diffusers: which model it holds, and what of it is there.

What diffusers' JSON cannot say of a model stands in piying.json.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from piying.config import (
    FAMILY,
    GuidanceCurve,
    ModelConfig,
    Precision,
    Sampler,
    Task,
    TransformerConfig,
    Weights,
)
from piying.errors import PiyingError
from piying.weights import part_json, safe
from piying.weights.part_json import JSON, is_count, read_json

PARTS = {"transformer": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}  # stems
QUANTISED = ("transformer", "text_encoder")
_PIPELINES = ("CogVideoXPipeline", "CogVideoXImageToVideoPipeline", "CogVideoXVideoToVideoPipeline")

# What piying.json keeps of a configuration, and what each value must be.
_OWN: dict[str, Callable[[Any], bool]] = {
    "name": lambda value: isinstance(value, str),
    "licence": lambda value: isinstance(value, str),
    "frames": is_count,
    "size": lambda value: isinstance(value, list) and len(value) == 2 and all(map(is_count, value)),
    "fps": is_count,
    "precision": lambda value: value in get_args(Precision),
    "sampler": lambda value: value in get_args(Sampler),
    "steps": is_count,
    "guidance": lambda value: type(value) in (int, float),
    "guidance_curve": lambda value: value in get_args(GuidanceCurve),
    "tasks": lambda value: isinstance(value, list) and bool(value) and all(task in get_args(Task) for task in value),
}


def read(folder: Path) -> tuple[ModelConfig, dict[str, list[str]] | None]:
    """The configuration of a diffusers folder, and the words that the model knows where piying.json lists them.

    What the JSON of diffusers cannot say (frames a second, guidance ...) comes from piying.json, and without that file
    from the member of the family that is built alike. Raises ModelMissing for a file that is not there and PiyingError
    for one that cannot be read or describes another kind of model.
    """
    index = read_json(folder / "model_index.json")
    if index.get("_class_name") not in _PIPELINES:
        raise PiyingError(f"{folder}: {index.get('_class_name')} is not of the CogVideoX family, which Piying runs")
    transformer = part_json.read_transformer(folder / "transformer" / "config.json")
    vae = part_json.read_vae(folder / "vae" / "config.json")
    text = part_json.read_text(folder / "text_encoder" / "config.json")
    schedule = part_json.read_schedule(folder / "scheduler" / "scheduler_config.json")
    kin = _kin(transformer)
    config = replace(kin, transformer=transformer, vae=vae, text=text, schedule=schedule)
    if not _alike(transformer, kin.transformer):
        config = replace(config, name=folder.resolve().name, hub=None)
    if transformer.patch[0] == 1:  # the 1.5 models learned many sizes; the others the one that their grid says
        height, width = transformer.latent_size
        config = replace(config, frames=transformer.frames, size=(8 * height, 8 * width))
    own = folder / "piying.json"
    if not own.is_file():
        return config, None
    told = read_json(own)
    return replace(config, **_told(own, told)), told.get("words")


def read_weights(folder: Path) -> Weights:
    """How the weights of a folder are kept. Raises PiyingError where transformer and text encoder differ in that."""
    transformer, text = (part_json.read_weights(folder / part / "config.json") for part in QUANTISED)
    if transformer != text:
        raise PiyingError(
            f"{folder}: {transformer} weights in the transformer, {text} in the text encoder; convert anew"
        )
    return transformer


def write(
    config: ModelConfig, words: dict[str, list[str]] | None, tokenizer: str, folder: Path, weights: Weights = "full"
) -> None:
    """Every JSON file of a diffusers folder but the tokenizer's own, whose class is named, and piying.json."""
    pipeline = "CogVideoXPipeline"
    if config.transformer.in_channels > config.transformer.out_channels:
        pipeline = "CogVideoXImageToVideoPipeline"
    scheduler = "CogVideoXDPMScheduler" if config.sampler == "dpm" else "CogVideoXDDIMScheduler"
    index = {
        "_class_name": pipeline,
        "scheduler": ["diffusers", scheduler],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", tokenizer],
        "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLCogVideoX"],
    }
    told = {key: getattr(config, key) for key in _OWN}
    if words is not None:
        told["words"] = words
    for path, values in {
        "model_index.json": index,
        "piying.json": told,
        "transformer/config.json": part_json.transformer_json(config.transformer, weights),
        "vae/config.json": part_json.vae_json(config.vae, config.size),
        "text_encoder/config.json": part_json.text_json(config.text, weights),
        "scheduler/scheduler_config.json": part_json.schedule_json(config.schedule, scheduler),
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")


def lacking(folder: Path) -> str | None:
    """What a folder lacks to be a whole model, told from the names of its files alone; None where it lacks nothing."""
    files = ["model_index.json", "scheduler/scheduler_config.json", *(f"{part}/config.json" for part in PARTS)]
    for file in files:
        if not (folder / file).is_file():
            return f"{file} is missing"
    if not any((folder / "tokenizer" / file).is_file() for file in ("tokenizer.json", "spiece.model")):
        return "tokenizer/spiece.model is missing"
    for part, stem in PARTS.items():
        single, index = folder / part / f"{stem}.safetensors", folder / part / f"{stem}.safetensors.index.json"
        if not single.is_file() and not index.is_file():
            return f"{part}/{single.name} is missing"
        try:
            if not single.is_file():
                safe.shards(index)
        except PiyingError as error:
            return str(error)
    return None


def _kin(transformer: TransformerConfig) -> ModelConfig:
    """The published member that is built alike; where none is, one with the same positions and patches in time."""

    def likeness(member: ModelConfig) -> tuple[bool, bool, bool, bool]:
        other = member.transformer
        return (
            other.patch[0] == transformer.patch[0],
            other.positions == transformer.positions,
            other.in_channels == transformer.in_channels,
            _alike(transformer, other),
        )

    return max(FAMILY.values(), key=likeness)


def _alike(one: TransformerConfig, other: TransformerConfig) -> bool:
    """Whether two are built alike. The 1.5 models learned many sizes, and which one their file says means nothing."""
    return one == (replace(other, latent_size=one.latent_size) if one.patch[0] == 2 else other)


def _told(path: Path, values: JSON) -> JSON:
    """What piying.json says of a configuration, each value held to its kind."""
    told = {key: values[key] for key in _OWN if key in values}
    for key, value in told.items():
        if not _OWN[key](value):
            raise PiyingError(f"{path}: {key}={value!r} cannot be used; save the model again")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
