"""The expert diffusion transformer of CogVideoX (arXiv:2408.06072, section 2.2).

Shapes: B batch, F latent frames, C channels, H W latent cells, L text tokens, T video tokens (patches), D width.
Text and video run through every block as one sequence [B L+T D], text first. Parameter names are those of the
published files.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piying import ops
from piying.config import TransformerConfig
from piying.errors import UsageError
from piying.models import positions
from piying.models.linear import Linear


class Modulations(NamedTuple):
    """All that the timestep decides. It depends on nothing else, so it may be computed once for a schedule."""

    blocks: list[tuple[Tensor, Tensor]]  # per block, for attention and feed-forward: [B 2 3 D], see ops.modulate
    out: Tensor  # [B 2 D], shift and scale


class Share(Protocol):
    """What a rank holds of the sequence where several run one video; piying.parallel.sequence has it."""

    def take(
        self, parts: list[Tensor], turns: Tensor | None, text_tokens: int
    ) -> tuple[list[Tensor], Tensor | None, int]:
        """The same three for this rank's tokens alone; parts of a batch, each [b L+T D]."""
        ...

    def give(self, x: Tensor) -> Tensor:
        """Video tokens of this rank [B t D] -> those of all ranks [B T D]."""
        ...


class Transformer(nn.Module):
    """Predicts v from noisy latents, text and timestep.

    `flow` may give the blocks in order from wherever they are kept, each ready until the next is asked for. `apart`
    takes the rows of a batch one after the other through each block, for less memory; products of another shape may
    round otherwise.
    """

    flow: "Callable[[], AbstractContextManager[Iterable[Block]]] | None" = None
    apart: bool = False
    share: Share | None = None  # set while several ranks run one video, and `attend` of every Attention with it

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbedding(config)
        self.time_embedding = StepEmbedding(config.width, config.time_width)
        if config.ofs_width is not None:
            self.ofs_embedding = StepEmbedding(config.ofs_width, config.ofs_width)
        self.transformer_blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm_final = nn.LayerNorm(config.width)
        self.norm_out = FinalNorm(config)
        self.proj_out = Linear(config.width, math.prod(config.patch) * config.out_channels)

    def forward(self, x: Tensor, text: Tensor, timestep: Tensor, ofs: Tensor | None = None) -> Tensor:
        """v [B F C_out H W] for latents x [B F C H W] (condition channels last), T5 states text [B L text_width],
        timestep [B] in 0..999 and, for 1.5 image-to-video alone, ofs [B] (2.0 as published).

        Raises UsageError where the latents do not divide into patches or do not fit learned positions.
        """
        return self.predict(x, self.embed_text(text), self.modulations(timestep, ofs))

    def embed_text(self, text: Tensor) -> Tensor:
        """T5 states [B L text_width] -> text tokens [B L D]: the same for every step of a video."""
        return self.patch_embed.embed_text(text)

    def modulations(self, timestep: Tensor, ofs: Tensor | None = None) -> Modulations:
        """timestep [B], ofs [B] -> what every adaptive norm does at this step."""
        time = self.time(timestep, ofs)
        blocks = cast(Iterable[Block], self.transformer_blocks)
        return Modulations([block.modulations(time) for block in blocks], self.norm_out.table(time))

    def time(self, timestep: Tensor, ofs: Tensor | None = None) -> Tensor:
        """timestep [B], ofs [B] -> what the adaptive norms see of them [B time_width]."""
        time = self.time_embedding(timestep)
        if self.config.ofs_width is not None:
            if ofs is None:
                raise UsageError("ofs=None: this model wants an offset for each video, e.g. 2.0")
            time = time + self.ofs_embedding(ofs)
        return F.silu(time)

    def predict(self, x: Tensor, text: Tensor, modulations: Modulations) -> Tensor:
        """v [B F C_out H W] from latents [B F C H W], embedded text [B L D] and modulations."""
        grid = self._grid(x)
        text_tokens = text.shape[1]
        turns = None
        if self.config.positions != "sincos":
            turns = positions.turns(self.config, grid, text_tokens, x.device)
        together = 1 if self.apart else len(x)
        tokens = self.patch_embed(x, grid).split(together)
        parts = [torch.cat(part, dim=1) for part in zip(text.split(together), tokens, strict=True)]
        del tokens  # as large as all parts together
        if self.share:
            parts, turns, text_tokens = self.share.take(parts, turns, text_tokens)
        own = cast(Iterable[Block], self.transformer_blocks)
        with self.flow() if self.flow else nullcontext(own) as blocks:
            for block, (first, second) in zip(blocks, modulations.blocks, strict=True):
                tables = zip(first.split(together), second.split(together), strict=True)
                for place, table in enumerate(tables):
                    parts[place] = block(parts[place], table, turns, text_tokens)
        for place, out in enumerate(modulations.out.split(together)):
            part = ops.final_norm(parts[place], self.norm_final, self.norm_out.norm, out, text_tokens)
            part = self.proj_out(part)
            if self.share:
                part = self.share.give(part)
            parts[place] = _unpatch(part, grid, self.config.patch)
        return torch.cat(parts)

    def _grid(self, x: Tensor) -> positions.Grid:
        """The patches of x [B F C H W] along time, height and width."""
        cells, patch = (x.shape[1], x.shape[3], x.shape[4]), self.config.patch
        if any(count % size for count, size in zip(cells, patch, strict=True)):
            raise UsageError(f"latents of {cells} frames, rows, columns: use multiples of {patch}")
        return (cells[0] // patch[0], cells[1] // patch[1], cells[2] // patch[2])


class PatchEmbedding(nn.Module):
    """Brings patches of latents and text to the width of the model, and adds positions where these are added."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        # Published 1.0 files hold a 2D convolution, 1.5 files a matrix; both are one product over (C, time, H, W).
        self.proj = Linear(config.in_channels * math.prod(config.patch), config.width)
        if config.patch[0] == 1:
            self.proj.weight = nn.Parameter(self.proj.weight.unflatten(1, (config.in_channels, *config.patch[1:])))
        self.text_proj = Linear(config.text_width, config.width)
        if config.positions == "rope+learned":
            rows = config.text_tokens + math.prod(config.trained_grid)
            self.pos_embedding = nn.Parameter(torch.zeros(1, rows, config.width))

    def forward(self, x: Tensor, grid: positions.Grid) -> Tensor:
        """Latents [B F C H W] -> tokens [B T D]."""
        tokens = self.proj(_patches(x, self.config.patch))
        if self.config.positions == "sincos":
            scale = self.config.sincos_scale
            tokens = tokens + positions.sincos(self.config.width, grid, scale, x.device, x.dtype)
        if self.config.positions == "rope+learned":
            tokens = tokens + self._learned(grid)
        return tokens

    def embed_text(self, text: Tensor) -> Tensor:
        """T5 states [B L text_width] -> tokens [B L D]."""
        tokens = self.text_proj(text)
        if self.config.positions == "rope+learned":
            if text.shape[1] > self.config.text_tokens:
                raise UsageError(f"{text.shape[1]} text tokens: this model takes at most {self.config.text_tokens}")
            tokens = tokens + self.pos_embedding[:, : text.shape[1]]
        return tokens

    def _learned(self, grid: positions.Grid) -> Tensor:
        """The rows of the learned table for a grid [1 T D]; fewer frames than trained take the first rows."""
        trained = self.config.trained_grid
        if grid[1:] != trained[1:] or grid[0] > trained[0]:
            raise UsageError(f"{grid} patches of time, height, width: this model learned positions for {trained} only")
        start = self.config.text_tokens
        return self.pos_embedding[:, start : start + math.prod(grid)]


class StepEmbedding(nn.Module):
    """A number -> sines and cosines -> two linear layers (arXiv:2006.11239, appendix B)."""

    def __init__(self, waves: int, width: int) -> None:
        super().__init__()
        self.waves = waves
        self.linear_1 = Linear(waves, width)
        self.linear_2 = Linear(width, width)

    def forward(self, number: Tensor) -> Tensor:
        """[B] -> [B width]."""
        half = self.waves // 2
        exponent = torch.arange(half, dtype=torch.float32, device=number.device) / half
        angles = number.float()[:, None] * torch.exp(-math.log(10000) * exponent)
        waves = torch.cat([angles.cos(), angles.sin()], dim=1)
        return self.linear_2(F.silu(self.linear_1(waves.to(self.linear_1.weight.dtype))))


class Block(nn.Module):
    """Attention and feed-forward over text and video together, each behind a norm that the timestep sets."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm1 = AdaptiveNorm(config)
        self.attn1 = Attention(config)
        self.norm2 = AdaptiveNorm(config)
        self.ff = FeedForward(config)

    def modulations(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Time after SiLU [B time_width] -> for attention and for the feed-forward [B 2 3 D]."""
        return self.norm1.table(time), self.norm2.table(time)

    def forward(self, x: Tensor, modulations: tuple[Tensor, Tensor], turns: Tensor | None, text_tokens: int) -> Tensor:
        """x [B L+T D] -> the same shape."""
        first, second = modulations
        change = self.attn1(self.norm1(x, first, text_tokens), turns)
        x, y = self.norm2.after(x, change, first, second, text_tokens)
        return ops.add_gated(x, self.ff(y), second, text_tokens)


class AdaptiveNorm(nn.Module):
    """LayerNorm whose scale and shift, and the gate that follows, come from the timestep, for video and text apart."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.linear = Linear(config.time_width, 6 * config.width)
        self.norm = nn.LayerNorm(config.width)

    def table(self, time: Tensor) -> Tensor:
        """[B time_width] -> [B 2 3 D], (video, text) x (shift, scale, gate)."""
        return self.linear(time).unflatten(1, (2, 3, -1))

    def forward(self, x: Tensor, modulation: Tensor, text_tokens: int) -> Tensor:
        return ops.adaptive_norm(x, self.norm, modulation, text_tokens)

    def after(
        self, x: Tensor, change: Tensor, gates: Tensor, modulation: Tensor, text_tokens: int
    ) -> tuple[Tensor, Tensor]:
        """The residual x + gate change, whose gate stands in the table of the norm before, and its norm."""
        return ops.add_and_norm(x, change, gates, self.norm, modulation, text_tokens)


class FinalNorm(nn.Module):
    """The adaptive norm before the output: video alone, no gate."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.linear = Linear(config.time_width, 2 * config.width)
        self.norm = nn.LayerNorm(config.width)

    def table(self, time: Tensor) -> Tensor:
        """[B time_width] -> [B 2 D], shift and scale, see ops.final_norm."""
        return self.linear(time).unflatten(1, (2, -1))


class Attention(nn.Module):
    """Full self-attention; q and k are normed for each head and turned by their positions."""

    attend: Callable[[Tensor, Tensor, Tensor], Tensor] = staticmethod(ops.attention)

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm_q = nn.LayerNorm(config.head_width, eps=1e-6)
        self.norm_k = nn.LayerNorm(config.head_width, eps=1e-6)
        self.to_q = Linear(config.width, config.width)
        self.to_k = Linear(config.width, config.width)
        self.to_v = Linear(config.width, config.width)
        self.to_out = nn.ModuleList([Linear(config.width, config.width)])

    def forward(self, x: Tensor, turns: Tensor | None) -> Tensor:
        narrowed = ops.narrow(x) if self.to_q.narrow else None
        products = (to(x, narrowed) for to in (self.to_q, self.to_k, self.to_v))
        q, k, v = (y.unflatten(-1, (self.heads, -1)) for y in products)  # [B N H D]
        q, k = ops.place_heads(q, k, self.norm_q, self.norm_k, turns)
        return self.to_out[0](self.attend(q, k, v).flatten(2))


class FeedForward(nn.Module):
    """Linear, GELU (tanh form), linear; four times as wide inside."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        # Published names are net.0.proj and net.2; net.1 holds nothing.
        self.net = nn.Sequential(
            Widening(config.width, 4 * config.width), nn.Identity(), Linear(4 * config.width, config.width)
        )

    def forward(self, x: Tensor) -> Tensor:
        widening, back = cast(Widening, self.net[0]), cast(Linear, self.net[2])
        if back.narrow and not back.changes:  # GELU and the change to eight bits in one pass
            wide = widening.proj(x)
            return back(wide, ops.narrow(wide, gelu=True))
        return self.net(x)


class Widening(nn.Module):
    """Linear and GELU."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.proj = Linear(width, wide)

    def forward(self, x: Tensor) -> Tensor:
        if self.proj.changes or self.proj.narrow or self.proj.dtype != x.dtype:  # what adapters add comes before GELU
            return F.gelu(self.proj(x), approximate="tanh")
        return ops.widen(x, self.proj.matrix(x.dtype), self.proj.bias)


def _patches(x: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """Latents [B F C H W] -> [B T C*t*h*w], the values of each patch ordered channel, time, row, column."""
    time, height, width = patch
    x = x.unflatten(4, (-1, width)).unflatten(3, (-1, height)).unflatten(1, (-1, time))  # B F t C H h W w
    return x.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(1, 3)


def _unpatch(x: Tensor, grid: positions.Grid, patch: tuple[int, int, int]) -> Tensor:
    """The way back: [B T C*t*h*w] -> latents [B F C H W]."""
    x = x.unflatten(1, grid).unflatten(4, (-1, *patch))  # B F H W C t h w
    return x.permute(0, 1, 5, 4, 2, 6, 3, 7).flatten(6).flatten(4, 5).flatten(1, 2)
