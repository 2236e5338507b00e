"""The networks of the autoencoder as torch runs them, which is how they are trained.

Shapes: B batch, C channels, F frames, H W pixels, f h w latent cells. Parameter names are the published ones.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piying import ops
from piying.config import VAEConfig

Past = dict[nn.Module, Tensor]  # the last two frames [B C 2 H W] that each causal convolution saw

FRAME_CHUNK, LATENT_CHUNK = 8, 2  # the first chunk of a video takes the remainder as well


def schedule(frames: int, chunk: int) -> list[int]:
    """The length of each chunk: [3, 2, 2, 2, 2, 2] for 13 latent frames by 2, [9, 8, 8, 8, 8, 8] for 49 frames by 8."""
    count = max(frames // chunk, 1)
    return [frames - chunk * (count - 1)] + [chunk] * (count - 1)


def decoded_frames(latent_frames: int) -> int:
    """The frames of a chunk: an odd count begins with one that stands for a single frame."""
    return 4 * latent_frames - 3 * (latent_frames % 2)


class Encoder(nn.Module):
    """Four levels: each halves height and width but the last, and the first two halve time."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        first, last = config.channels[0], config.channels[-1]
        self.conv_in = CausalConv(3, first)
        self.down_blocks = nn.ModuleList(
            Down(before, after, config, halve_space=level < 3, halve_time=level < 2)
            for level, (before, after) in enumerate(zip((first, *config.channels), config.channels, strict=False))
        )
        self.mid_block = Middle(last, config, latent_channels=None)
        self.norm_out = nn.GroupNorm(config.groups, last, eps=1e-6)
        self.conv_out = CausalConv(last, 2 * config.latent_channels)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        """Pixels [B 3 F H W] -> moments [B 2C f h w]."""
        x = self.conv_in(x, past)
        for block in self.down_blocks:
            x = block(x, past)
        x = self.mid_block(x, None, past)
        return self.conv_out(F.silu(self.norm_out(x)), past)


class Decoder(nn.Module):
    """The mirror of the encoder, one residual block more at each level, every norm conditioned on the latents."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        channels = config.channels[::-1]
        self.conv_in = CausalConv(config.latent_channels, channels[0])
        self.mid_block = Middle(channels[0], config, config.latent_channels)
        self.up_blocks = nn.ModuleList(
            Up(before, after, config, double_space=level < 3, double_time=level < 2)
            for level, (before, after) in enumerate(zip((channels[0], *channels), channels, strict=False))
        )
        self.norm_out = LatentNorm(channels[-1], config.latent_channels, config.groups)
        self.conv_out = CausalConv(channels[-1], 3)

    def forward(self, latents: Tensor, past: Past) -> Tensor:
        """Latents [B C f h w] -> pixels [B 3 F H W]."""
        x = self.conv_in(latents, past)
        x = self.mid_block(x, latents, past)
        for block in self.up_blocks:
            x = block(x, latents, past)
        return self.conv_out(F.silu(self.norm_out(x, latents)), past)


class Down(nn.Module):
    """Residual blocks, then half the size."""

    def __init__(self, before: int, after: int, config: VAEConfig, *, halve_space: bool, halve_time: bool) -> None:
        super().__init__()
        self.halve_time = halve_time
        self.resnets = nn.ModuleList(
            ResidualBlock(before if index == 0 else after, after, config.groups) for index in range(config.blocks)
        )
        self.downsamplers = nn.ModuleList([Sampler(after, stride=2)] if halve_space else [])

    def forward(self, x: Tensor, past: Past) -> Tensor:
        for block in self.resnets:
            x = block(x, None, past)
        for sampler in self.downsamplers:
            if self.halve_time:
                x = halve_frames(x)
            x = sampler(F.pad(x, (0, 1, 0, 1)))
        return x


class Up(nn.Module):
    """Residual blocks, then twice the size."""

    def __init__(self, before: int, after: int, config: VAEConfig, *, double_space: bool, double_time: bool) -> None:
        super().__init__()
        self.double_time = double_time
        self.resnets = nn.ModuleList(
            ResidualBlock(before if index == 0 else after, after, config.groups, config.latent_channels)
            for index in range(config.blocks + 1)
        )
        self.upsamplers = nn.ModuleList([Sampler(after, stride=1)] if double_space else [])

    def forward(self, x: Tensor, latents: Tensor, past: Past) -> Tensor:
        for block in self.resnets:
            x = block(x, latents, past)
        for sampler in self.upsamplers:
            x = sampler(double_space(x))
            if self.double_time:  # after the convolution, which sees single frames: the same result for half the work
                x = double_frames(x)
        return x


class Middle(nn.Module):
    """Two residual blocks at the lowest resolution."""

    def __init__(self, channels: int, config: VAEConfig, latent_channels: int | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResidualBlock(channels, channels, config.groups, latent_channels) for _ in range(2)
        )

    def forward(self, x: Tensor, latents: Tensor | None, past: Past) -> Tensor:
        for block in self.resnets:
            x = block(x, latents, past)
        return x


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, added to what came in. In the decoder the norms take the latents too."""

    def __init__(self, before: int, after: int, groups: int, latent_channels: int | None = None) -> None:
        super().__init__()
        self.norm1 = _norm(before, latent_channels, groups)
        self.conv1 = CausalConv(before, after)
        self.norm2 = _norm(after, latent_channels, groups)
        self.conv2 = CausalConv(after, after)
        self.conv_shortcut = nn.Conv3d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, latents: Tensor | None, past: Past) -> Tensor:
        y = self.conv1(F.silu(self._normed(self.norm1, x, latents)), past)
        y = self.conv2(F.silu(self._normed(self.norm2, y, latents)), past)
        return self.conv_shortcut(x) + y

    @staticmethod
    def _normed(norm: nn.Module, x: Tensor, latents: Tensor | None) -> Tensor:
        return norm(x) if latents is None else norm(x, latents)


class LatentNorm(nn.Module):
    """Group norm whose scale and shift come from the latents at the same place (arXiv:2209.09002, equation 3)."""

    def __init__(self, channels: int, latent_channels: int, groups: int) -> None:
        super().__init__()
        self.norm_layer = nn.GroupNorm(groups, channels, eps=1e-6)
        self.conv_y = Pointwise(latent_channels, channels)
        self.conv_b = Pointwise(latent_channels, channels)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """x [B C F H W], latents [B c f h w].

        The latents are convolved before they are enlarged, which is exact; in space they are not copied at all.
        """
        scale, shift = (_at_frames(conv(latents), x.shape[2]) for conv in (self.conv_y, self.conv_b))
        height, width = latents.shape[3:]
        cells = self.norm_layer(x).unflatten(4, (width, -1)).unflatten(3, (height, -1))  # [B C F h s w s]
        cells = (cells * scale[:, :, :, :, None, :, None]).add_(shift[:, :, :, :, None, :, None])
        return cells.flatten(5).flatten(3, 4)


class CausalConv(nn.Module):
    """3 x 3 x 3 convolution that sees no later frame; the first frame of a video stands in for what came before it."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(before, after, 3)  # holds the weights; ops.causal_conv runs it

    def forward(self, x: Tensor, past: Past) -> Tensor:
        earlier = past[self].to(x.device) if self in past else torch.cat([x[:, :, :1]] * 2, dim=2)
        x = torch.cat([earlier, x], dim=2)
        past[self] = x[:, :, -2:].clone()  # a copy, so that the chunk itself is freed
        return ops.causal_conv(x, self.conv.weight, self.conv.get_parameter("bias"))


class Pointwise(nn.Module):
    """1 x 1 x 1 convolution under its published name."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Sampler(nn.Module):
    """3 x 3 convolution over single frames, beside a change of size."""

    def __init__(self, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride, padding=1 if stride == 1 else 0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x.transpose(1, 2).flatten(0, 1))
        return y.unflatten(0, (x.shape[0], -1)).transpose(1, 2)


def halve_frames(x: Tensor) -> Tensor:
    """The mean of each two frames; of an odd number the first is kept as it is."""
    first = x.shape[2] % 2
    pairs = x[:, :, first:].unflatten(2, (-1, 2)).mean(3)
    return torch.cat([x[:, :, :first], pairs], dim=2)


def double_frames(x: Tensor) -> Tensor:
    """Each frame twice; of an odd number the first stays single."""
    first = x.shape[2] % 2
    return torch.cat([x[:, :, :first], x[:, :, first:].repeat_interleave(2, dim=2)], dim=2)


def double_space(x: Tensor) -> Tensor:
    """Each pixel four times."""
    return F.interpolate(x, scale_factor=(1.0, 2.0, 2.0))


def _at_frames(x: Tensor, frames: int) -> Tensor:
    """x [B C f h w] with frames repeated, as `double_frames` does, until there are `frames`."""
    while x.shape[2] < frames:
        x = double_frames(x)
    return x


def _norm(channels: int, latent_channels: int | None, groups: int) -> nn.Module:
    if latent_channels is None:
        return nn.GroupNorm(groups, channels, eps=1e-6)
    return LatentNorm(channels, latent_channels, groups)
