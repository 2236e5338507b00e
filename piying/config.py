"""Every member of the CogVideoX family as data; each states only what differs from the 5B.

Lengths are in latent cells unless a name says otherwise; `size` is always (height, width).
"""

from dataclasses import dataclass, replace
from typing import Literal

Precision = Literal["float32", "float16", "bfloat16"]
Weights = Literal["full", "int8", "fp8"]  # of the blocks' products: as they were trained, or of eight bits
Speed = Literal["exact", "fast"]
Sampler = Literal["ddim", "dpm"]
GuidanceCurve = Literal["constant", "published", "smooth"]
Task = Literal["text", "image", "ends"]  # from text alone, with the first image, with the first and the last


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The expert diffusion transformer (arXiv:2408.06072, section 2.2)."""

    layers: int = 42
    heads: int = 48
    head_width: int = 64
    patch: tuple[int, int, int] = (1, 2, 2)  # time, height, width
    in_channels: int = 16
    out_channels: int = 16
    text_tokens: int = 226
    text_width: int = 4096
    time_width: int = 512
    ofs_width: int | None = None  # the offset embedding of 1.5 image-to-video
    positions: Literal["sincos", "rope", "rope+learned"] = "rope"
    latent_size: tuple[int, int] = (60, 90)  # the grid that positions were trained on
    frames: int = 49  # pixel frames that positions were trained on
    sincos_scale: tuple[float, float] = (1.0, 1.875)  # time, space

    @property
    def width(self) -> int:
        return self.heads * self.head_width

    @property
    def trained_grid(self) -> tuple[int, int, int]:
        """Patches along time, height and width that positions were trained on."""
        time, height, width = self.patch
        return (((self.frames - 1) // 4 + 1) // time, self.latent_size[0] // height, self.latent_size[1] // width)


@dataclass(frozen=True, kw_only=True)
class VAEConfig:
    """The causal 3D autoencoder: 4 x 8 x 8 pixels to one latent cell."""

    channels: tuple[int, ...] = (128, 256, 256, 512)
    blocks: int = 3  # residual blocks a level
    latent_channels: int = 16
    groups: int = 32
    latent_scale: float = 0.7  # latent -> unit variance
    image_latent_scale: float = 0.7  # the same for condition images; 1.5 applies the inverse


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The T5 v1.1 encoder (arXiv:1910.10683; gated GELU of arXiv:2002.05202)."""

    vocabulary: int = 32128
    width: int = 4096
    layers: int = 24
    heads: int = 64
    head_width: int = 64
    ff_width: int = 10240
    buckets: int = 32
    max_distance: int = 128


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Scaled-linear betas with zero terminal SNR (arXiv:2305.08891)."""

    timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    snr_shift: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One checkpoint of the family: its parts, and what a request falls back to."""

    name: str = "cogvideox-5b"
    hub: str | None = "THUDM/CogVideoX-5b"
    licence: str = "CogVideoX"
    transformer: TransformerConfig = TransformerConfig()
    vae: VAEConfig = VAEConfig()
    text: TextConfig = TextConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    frames: int = 49
    size: tuple[int, int] = (480, 720)  # pixels
    fps: int = 8
    precision: Precision = "bfloat16"
    sampler: Sampler = "dpm"
    steps: int = 50
    guidance: float = 6.0
    guidance_curve: GuidanceCurve = "published"
    tasks: tuple[Task, ...] = ("text",)  # what it was trained for


_5B = ModelConfig()

COGVIDEOX_5B = _5B
COGVIDEOX_2B = replace(
    _5B,
    name="cogvideox-2b",
    hub="THUDM/CogVideoX-2b",
    licence="Apache-2.0",
    transformer=replace(_5B.transformer, layers=30, heads=30, positions="sincos"),
    vae=replace(_5B.vae, latent_scale=1.15258426, image_latent_scale=1.15258426),
    schedule=replace(_5B.schedule, snr_shift=3.0),
    precision="float16",
    sampler="ddim",
    guidance_curve="constant",
)
COGVIDEOX_5B_I2V = replace(
    _5B,
    name="cogvideox-5b-i2v",
    hub="THUDM/CogVideoX-5b-I2V",
    transformer=replace(_5B.transformer, in_channels=32, positions="rope+learned"),
    tasks=("image",),
)
COGVIDEOX_15_5B = replace(
    _5B,
    name="cogvideox-1.5-5b",
    hub="THUDM/CogVideoX1.5-5B",
    transformer=replace(_5B.transformer, patch=(2, 2, 2), latent_size=(300, 300), frames=81),
    vae=replace(_5B.vae, image_latent_scale=1 / 0.7),
    frames=81,
    size=(768, 1360),
    fps=16,
)
COGVIDEOX_15_5B_I2V = replace(
    COGVIDEOX_15_5B,
    name="cogvideox-1.5-5b-i2v",
    hub="THUDM/CogVideoX1.5-5B-I2V",
    transformer=replace(COGVIDEOX_15_5B.transformer, in_channels=32, ofs_width=512),
    tasks=("image",),
)
NANO = replace(
    _5B,
    name="nano",
    hub=None,
    licence="Apache-2.0",
    transformer=replace(
        _5B.transformer,
        layers=8,
        heads=5,
        in_channels=32,
        text_tokens=64,
        text_width=192,
        time_width=64,
        latent_size=(12, 18),
    ),
    vae=replace(_5B.vae, channels=(24, 48, 64, 80), blocks=1, groups=8),
    text=TextConfig(vocabulary=1024, width=192, layers=3, heads=3, ff_width=512),
    size=(96, 144),
    precision="float32",
    steps=20,
    guidance=3.0,
    guidance_curve="constant",
    tasks=("text", "image", "ends"),
)

FAMILY = {
    member.name: member
    for member in (COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_5B_I2V, COGVIDEOX_15_5B, COGVIDEOX_15_5B_I2V, NANO)
}
