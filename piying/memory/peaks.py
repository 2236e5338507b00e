"""What each stage of a video holds on the card, told from configuration and request alone: nothing is loaded.

Shapes: R rows (two for each guided video), N tokens = L of text + T of video, D width. A unit is one row of tokens
in the type of the model, N * D * itemsize bytes. Every count names what is held at that moment, so that it can be
checked against models/transformer.py and ops.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TypeVar, cast

import torch
from torch import nn

from piying.config import ModelConfig, Weights
from piying.memory.calibration import WORKSPACE
from piying.memory.stream import layout
from piying.memory.tables import ADAPTIVE
from piying.models import quant, vae_memory
from piying.models.text import OVERFLOWS, TextEncoder
from piying.models.transformer import Transformer
from piying.models.vae import VAE
from piying.models.vae_parts import Up
from piying.request import FullRequest

Module = TypeVar("Module", bound=nn.Module)

# A block at its fattest, in units for each row that it works on. It begins with what its caller holds, 1.
FEED_FORWARD = {
    True: 1 + 1 + 1 + 1 + 4 + 1,  # fused: input, change of the attention, sum, its norm, 4D after GELU, result
    False: 1 + 1 + 1 + 1 + 4 + 4,  # plain: the same without the result, and 4D before GELU
}
ATTENTION = {
    True: 1 + 1 + 3 + 2,  # fused: input, norm; q, k, v; q and k normed and turned
    False: 1 + 1 + 3 + 1 + 6,  # plain: the same, one of q and k turned, and float32 pairs of the other, see ops.rotate
}


@dataclass(frozen=True)
class Sizes:
    """The bytes of one request's stages."""

    config: ModelConfig
    request: FullRequest
    videos: int  # that are made together
    dtype: torch.dtype
    weights: Weights = "full"
    fused: bool = True  # whether the kernels of GPUs run
    adapters: int = 0  # bytes on the card, from the first stage to the end

    @property
    def rows(self) -> int:
        return self.videos * (2 if self.request.guidance > 1 else 1)

    @cached_property
    def latents(self) -> int:
        """Bytes of the latents of all videos in float32."""
        frames, height, width = self._cells
        return 4 * self.videos * self.config.vae.latent_channels * frames * height * width

    @cached_property
    def video_tokens(self) -> int:
        return prod(cells // patch for cells, patch in zip(self._cells, self.config.transformer.patch, strict=True))

    @cached_property
    def tokens(self) -> int:
        return self.config.transformer.text_tokens + self.video_tokens

    @property
    def _cells(self) -> tuple[int, int, int]:
        """Latent frames, filled up to whole patches, rows and columns."""
        frames, (height, width) = (self.request.frames - 1) // 4 + 1, self.request.size
        return frames + -frames % self.config.transformer.patch[0], height // 8, width // 8

    # --- weights ---

    @cached_property
    def _transformer(self) -> Transformer:
        """One block of it: all are alike."""
        with torch.device("meta"):
            return self._prepared(Transformer(replace(self.config.transformer, layers=1)).to(self.dtype))

    @cached_property
    def _text(self) -> TextEncoder:
        with torch.device("meta"):
            return self._prepared(TextEncoder(replace(self.config.text, layers=1)).to(self.dtype))

    def _prepared(self, module: Module) -> Module:
        if self.weights != "full":
            quant.prepare(module, self.weights)
        return module

    @cached_property
    def _vae(self) -> VAE:
        with torch.device("meta"):
            return VAE(self.config.vae).to(self.dtype)

    @property
    def vae(self) -> int:
        return _bytes(self._vae)

    @cached_property
    def small(self) -> int:
        """The transformer without its blocks."""
        return _bytes(self._transformer) - _bytes(self._transformer.transformer_blocks)

    @cached_property
    def adaptive(self) -> int:
        """What passes through the card once, and stays in host memory."""
        block = self._transformer.transformer_blocks[0]
        layers = self.config.transformer.layers
        return layers * sum(_bytes(block.get_submodule(name)) for name in ADAPTIVE)

    @cached_property
    def block(self) -> int:
        """One block of the transformer as it comes to the card."""
        return layout(self._transformer.transformer_blocks[0], ADAPTIVE).size

    @property
    def blocks(self) -> int:
        return self.config.transformer.layers * self.block

    @cached_property
    def text_block(self) -> int:
        """One block of T5 as it comes to the card."""
        return layout(self._text.blocks[0], float32=self._float32).size

    @property
    def text(self) -> int:
        """All of T5 on the card."""
        outside = _bytes(self._text) - _bytes(self._text.blocks)
        return outside + self.config.text.layers * self.text_block

    @property
    def _float32(self) -> str | None:
        return OVERFLOWS if self.dtype == torch.float16 else None

    # --- what a stage holds beside weights, at its fattest moment ---

    @cached_property
    def embedding(self) -> int:
        """Embedded prompts, held from the first stage to the end."""
        return self.rows * self.config.transformer.text_tokens * self.config.transformer.width * self.dtype.itemsize

    @cached_property
    def reading(self) -> int:
        """A block of T5: its input, a sum and a norm, in float32 or not, and three wide products; and the biases of
        distances, as made and as attention wants them."""
        config, tokens = self.config.text, self.config.transformer.text_tokens
        row = tokens * (config.width * (4 + 4 + self.dtype.itemsize) + 3 * config.ff_width * self.dtype.itemsize)
        biases = 2 * config.heads * tokens**2 * self.dtype.itemsize
        return self.rows * row + biases + self._plain(config.ff_width * config.width) * (2 if self._float32 else 1)

    def _plain(self, numbers: int) -> int:
        """The largest matrix of a block in the model's type, where quantised weights become one for its product."""
        return 0 if self.weights == "full" else numbers * self.dtype.itemsize

    @property
    def inputs(self) -> int:
        """What the model is given: latents in its type, with condition channels where it has them, once for each row,
        and once more before they are put together."""
        channels = self.config.transformer.in_channels / self.config.vae.latent_channels
        return round((self.rows / self.videos + 1) * channels * self.latents / 4 * self.dtype.itemsize)

    def denoising(self, *, apart: bool) -> int:
        """A block with its rows, those of the others, and what a step keeps beside: positions, inputs, embedded prompts
        and latents (the state and its estimate, those of the step before, v, noise, and sums of them)."""
        config, itemsize = self.config.transformer, self.dtype.itemsize
        unit = self.tokens * config.width * itemsize
        fattest: float = max(FEED_FORWARD[self.fused], ATTENTION[self.fused or config.positions == "sincos"])
        weights = self._plain(4 * config.width**2)
        if self.request.speed == "fast" and self.fused:  # both sides of the widest product in eight bits
            fattest += 4 / itemsize
            weights += 4 * config.width**2
        working = round(unit * (fattest + self.rows - 1 if apart else fattest * self.rows)) + weights
        if config.positions == "sincos":
            positions = self.video_tokens * config.width * itemsize
        else:
            positions = self.tokens * config.head_width * 4
        return working + positions + self.inputs + 8 * self.latents + self.embedding + WORKSPACE

    @property
    def decoding(self) -> int:
        """What stands beside the autoencoder's work: latents, of the last step and unscaled, and embedded prompts."""
        return 4 * self.latents + self.embedding + WORKSPACE

    def autoencoding(self, limit: int | None) -> int:
        """The autoencoder's work on one video within a limit. Raises OutOfMemory where it needs more."""
        request = self.request
        call = vae_memory.Call(
            task="decode",
            config=self.config.vae,
            frames=request.frames,
            size=request.size,
            dtype=self.dtype,
            kernels=self.fused,
            remember=request.clips > 1 or request.continues is not None,
        )
        most = vae_memory.peak(call, limit)
        if request.image or request.video or request.continues:
            frames = request.frames if request.video or request.continues else 1
            pixels = 3 * frames * prod(request.size) * self.dtype.itemsize
            encode = replace(call, task="encode", frames=frames, remember=False)
            most = max(most, pixels + vae_memory.peak(encode, None if limit is None else limit - pixels))
        return most

    # --- work ---

    @cached_property
    def step_flops(self) -> tuple[float, float]:
        """Of a step: in products, and in attention."""
        config, tokens = self.config.transformer, self.tokens
        times = self.rows * config.layers
        return times * 24 * tokens * config.width**2, times * 4 * tokens**2 * config.width

    @cached_property
    def decode_flops(self) -> float:
        """Of decoding all videos: the convolutions, each at the size that it works on."""
        _, height, width = self._cells
        frames = (self.request.frames - 1) // 4 + 1
        decoder, flops = self._vae.decoder, 0

        def count(*modules: nn.Module) -> int:
            weights = sum(p.numel() for module in modules for p in module.parameters() if p.ndim > 1)
            return 2 * weights * frames * height * width

        flops += count(decoder.conv_in, decoder.mid_block)
        for level in cast(Iterable[Up], decoder.up_blocks):
            flops += count(level.resnets)
            if len(level.upsamplers):
                height, width = 2 * height, 2 * width
                flops += count(level.upsamplers)  # which see single frames
            if level.double_time:
                frames = 2 * frames - frames % 2
        return self.videos * (flops + count(decoder.conv_out))


def _bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
