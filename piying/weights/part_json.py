"""The configuration of each part as diffusers' JSON, and back.

Each file has keys that we read, and keys whose value is the same in the whole family: another value there means another
model and is refused.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, get_args

from piying.config import ScheduleConfig, TextConfig, TransformerConfig, VAEConfig, Weights
from piying.errors import ModelMissing, PiyingError

JSON = dict[str, Any]

_METHOD = "piying"  # of quantising, as a name that no other library knows

_TRANSFORMER = {
    "_class_name": "CogVideoXTransformer3DModel",
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "norm_elementwise_affine": True,
    "norm_eps": 1e-5,
    "temporal_compression_ratio": 4,
    "timestep_activation_fn": "silu",
}
_VAE = {
    "_class_name": "AutoencoderKLCogVideoX",
    "act_fn": "silu",
    "down_block_types": ["CogVideoXDownBlock3D"] * 4,
    "in_channels": 3,
    "latents_mean": None,
    "latents_std": None,
    "norm_eps": 1e-6,
    "out_channels": 3,
    "shift_factor": None,
    "temporal_compression_ratio": 4,
    "up_block_types": ["CogVideoXUpBlock3D"] * 4,
    "use_post_quant_conv": False,
    "use_quant_conv": False,
}
_TEXT = {
    "architectures": ["T5EncoderModel"],
    "feed_forward_proj": "gated-gelu",
    "layer_norm_epsilon": 1e-6,
    "model_type": "t5",
}
_SCHEDULE = {
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "trained_betas": None,
}

# Ours -> theirs, where one number stands for one number.
_TRANSFORMER_NUMBERS = {
    "layers": "num_layers",
    "heads": "num_attention_heads",
    "head_width": "attention_head_dim",
    "in_channels": "in_channels",
    "out_channels": "out_channels",
    "text_tokens": "max_text_seq_length",
    "text_width": "text_embed_dim",
    "time_width": "time_embed_dim",
    "frames": "sample_frames",
}
_VAE_NUMBERS = {
    "blocks": "layers_per_block",
    "latent_channels": "latent_channels",
    "groups": "norm_num_groups",
    "latent_scale": "scaling_factor",
}
_TEXT_NUMBERS = {
    "vocabulary": "vocab_size",
    "width": "d_model",
    "layers": "num_layers",
    "heads": "num_heads",
    "head_width": "d_kv",
    "ff_width": "d_ff",
    "buckets": "relative_attention_num_buckets",
    "max_distance": "relative_attention_max_distance",
}
_SCHEDULE_NUMBERS = {
    "timesteps": "num_train_timesteps",
    "beta_start": "beta_start",
    "beta_end": "beta_end",
    "snr_shift": "snr_shift_scale",
}
_SCHEDULERS = ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")


def transformer_json(config: TransformerConfig, weights: Weights = "full") -> JSON:
    time, height, _ = config.patch
    return {
        **_TRANSFORMER,
        **_quantisation_json(weights),
        **{theirs: getattr(config, ours) for ours, theirs in _TRANSFORMER_NUMBERS.items()},
        "ofs_embed_dim": config.ofs_width,
        "patch_bias": time == 1,  # as published; the reference reads it for 1.0 alone
        "patch_size": height,
        "patch_size_t": None if time == 1 else time,
        "sample_height": config.latent_size[0],
        "sample_width": config.latent_size[1],
        "spatial_interpolation_scale": config.sincos_scale[1],
        "temporal_interpolation_scale": config.sincos_scale[0],
        "use_learned_positional_embeddings": config.positions == "rope+learned",
        "use_rotary_positional_embeddings": config.positions != "sincos",
    }


def vae_json(config: VAEConfig, size: tuple[int, int]) -> JSON:
    return {
        **_VAE,
        **{theirs: getattr(config, ours) for ours, theirs in _VAE_NUMBERS.items()},
        "block_out_channels": config.channels,
        "invert_scale_latents": config.image_latent_scale != config.latent_scale,
        "sample_height": size[0],
        "sample_width": size[1],
    }


def text_json(config: TextConfig, weights: Weights = "full") -> JSON:
    return {
        **_TEXT,
        **_quantisation_json(weights),
        **{theirs: getattr(config, ours) for ours, theirs in _TEXT_NUMBERS.items()},
        "tie_word_embeddings": False,
    }


def schedule_json(config: ScheduleConfig, scheduler: str) -> JSON:
    numbers = {theirs: getattr(config, ours) for ours, theirs in _SCHEDULE_NUMBERS.items()}
    spacing = {"timestep_spacing": "trailing"}  # the sampler's choice; published files differ in it
    return {"_class_name": scheduler, **_SCHEDULE, **spacing, **numbers}


def read_transformer(path: Path) -> TransformerConfig:
    sheet = _Sheet.read(path, _TRANSFORMER)
    rope = sheet.values.get("use_rotary_positional_embeddings", False)
    learned = sheet.values.get("use_learned_positional_embeddings", False)
    if learned and not rope:
        raise PiyingError(f"{path}: learned positions without rotary ones; no member of the family has these")
    time = sheet.values.get("patch_size_t") or 1
    side = sheet.count("patch_size")
    return TransformerConfig(
        **sheet.numbers(TransformerConfig, _TRANSFORMER_NUMBERS),
        patch=(time, side, side),
        ofs_width=sheet.values.get("ofs_embed_dim"),
        positions="rope+learned" if learned else "rope" if rope else "sincos",
        latent_size=(sheet.count("sample_height"), sheet.count("sample_width")),
        sincos_scale=(sheet.number("temporal_interpolation_scale"), sheet.number("spatial_interpolation_scale")),
    )


def read_vae(path: Path) -> VAEConfig:
    sheet = _Sheet.read(path, _VAE)
    channels, groups = sheet.values.get("block_out_channels"), sheet.count("norm_num_groups")
    if not isinstance(channels, list) or len(channels) != 4 or not all(map(is_count, channels)):
        raise PiyingError(f"{path}: block_out_channels={channels}: four whole numbers are needed")
    if any(count % groups for count in channels):
        raise PiyingError(f"{path}: block_out_channels={channels}: use multiples of norm_num_groups={groups}")
    scale = sheet.number("scaling_factor")
    return VAEConfig(
        **sheet.numbers(VAEConfig, _VAE_NUMBERS),
        channels=tuple(channels),
        image_latent_scale=1 / scale if sheet.values.get("invert_scale_latents") else scale,
    )


def read_text(path: Path) -> TextConfig:
    return TextConfig(**_Sheet.read(path, _TEXT).numbers(TextConfig, _TEXT_NUMBERS))


def read_schedule(path: Path) -> ScheduleConfig:
    sheet = _Sheet.read(path, _SCHEDULE)
    if (name := sheet.values.get("_class_name")) not in _SCHEDULERS:
        raise PiyingError(f"{path}: the scheduler {name} is not supported; use one of {', '.join(_SCHEDULERS)}")
    return ScheduleConfig(**sheet.numbers(ScheduleConfig, _SCHEDULE_NUMBERS))


def read_weights(path: Path) -> Weights:
    """How a part's weights are kept. Raises PiyingError for a way that is not ours."""
    mark = read_json(path).get("quantization_config")
    if mark is None:
        return "full"
    for weights in get_args(Weights):
        if _quantisation_json(weights).get("quantization_config") == mark:
            return weights
    method = mark.get("quant_method") if isinstance(mark, dict) else mark
    raise PiyingError(f"{path}: weights quantised by {method!r}; take full ones and `piying convert --to int8`")


def _quantisation_json(weights: Weights) -> JSON:
    """The mark by which diffusers refuses what it would misread."""
    return {} if weights == "full" else {"quantization_config": {"quant_method": _METHOD, "weights": weights}}


def is_count(value: object) -> bool:
    return type(value) is int and value > 0


@dataclass(frozen=True)
class _Sheet:
    """One JSON file of a part."""

    path: Path
    values: JSON

    @classmethod
    def read(cls, path: Path, fixed: JSON) -> Self:
        """Refuses a file that says anything else of what is the same in the whole family."""
        values = read_json(path)
        for key, value in fixed.items():
            if key in values and values[key] != value:
                raise PiyingError(f"{path}: {key}={values[key]!r}: Piying has {value!r} only")
        return cls(path, values)

    def number(self, key: str) -> Any:
        value = self.values.get(key)
        if type(value) not in (int, float):
            raise PiyingError(f"{self.path}: {key}={value!r}: a number is needed")
        return value

    def count(self, key: str) -> int:
        value: Any = self.values.get(key)
        if not is_count(value):
            raise PiyingError(f"{self.path}: {key}={value!r}: a whole number above zero is needed")
        return value

    def numbers(self, kind: type, names: dict[str, str]) -> JSON:
        """The values of a configuration by our names, whole where its defaults are."""
        return {
            ours: self.count(theirs) if isinstance(getattr(kind, ours), int) else self.number(theirs)
            for ours, theirs in names.items()
        }


def read_json(path: Path) -> JSON:
    if not path.is_file():
        raise ModelMissing(f"{path}: no such file; a model is a folder in the layout of diffusers")
    try:
        values = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise PiyingError(f"{path}: not JSON ({error}); fetch it again") from error
    if not isinstance(values, dict):
        raise PiyingError(f"{path}: not a JSON object; fetch it again")
    return values
