"""The autoencoder without gradients, in bands of rows: the result of `vae_parts` in a part of its memory, and sooner.

Shapes: B batch, F frames, H W rows and columns, C channels, f h w latent cells. Everything lies as [B F H W C], as
convolutions on a GPU want it. Bands are exact: a convolution is given one more row at each edge of a band, and a group
norm the sums of all bands. Of the values between two convolutions only what later ones need is ever whole: what came
into a residual block, and what its first convolution made of it. Each pass over memory does all it can: a bias is
added, a residual with it, and the sums of the next norm are taken where values are stored; norm, latents and SiLU are
applied where they are copied into the frames that a convolution reads.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piying import ops
from piying.models.vae_memory import Plan, Step, rows_of
from piying.models.vae_parts import (
    CausalConv,
    Decoder,
    Down,
    Encoder,
    LatentNorm,
    Middle,
    Past,
    Pointwise,
    ResidualBlock,
    Sampler,
    Up,
    decoded_frames,
)
from piying.models.vae_past import Lanes, Shelf

Norm = Callable[[Tensor, int, Tensor], None]  # rows [B F R W C], the place of the first, where the result goes


@torch.no_grad()
def encode(encoder: Encoder, pixels: Tensor, chunks: list[int], past: Past | None, plan: Plan) -> Tensor:
    """Pixels [B 3 F H W] -> moments [B 2C f h w]. Fills `past` as `decode` does."""
    work = Work({} if past is None else past, plan, pixels)
    found = []
    with closing(work.shelf):
        for index, chunk in enumerate(pixels.permute(0, 2, 3, 4, 1).split(chunks, dim=1), start=1):
            work.begin(chunk, remember=past is not None or index < len(chunks))
            work.conv(encoder.conv_in)
            for level in cast(Iterable[Down], encoder.down_blocks):
                for block in cast(Iterable[ResidualBlock], level.resnets):
                    work.block(block)
                for sampler in cast(Iterable[Sampler], level.downsamplers):
                    work.halve(sampler, time=level.halve_time)
            work.middle(encoder.mid_block)
            work.conv(encoder.conv_out, encoder.norm_out)
            found.append(work.end())
    return torch.cat(found, dim=1).permute(0, 4, 1, 2, 3)


@torch.no_grad()
def decode(decoder: Decoder, latents: Tensor, chunks: list[int], past: Past | None, plan: Plan) -> Tensor:
    """Latents [B C f h w] -> pixels [B 3 F H W]. Fills `past` if given; the tensors that it held stay as they are."""
    work = Work({} if past is None else past, plan, latents)
    batch, _, _, height, width = latents.shape
    counts = [decoded_frames(count) for count in chunks]
    pixels = latents.new_empty(batch, sum(counts), 8 * height, 8 * width, 3)
    levels = list(cast(Iterable[Up], decoder.up_blocks))
    parts = zip(latents.permute(0, 2, 3, 4, 1).split(chunks, dim=1), pixels.split(counts, dim=1), strict=True)
    with closing(work.shelf):
        for index, (chunk, out) in enumerate(parts, start=1):
            work.begin(chunk, latents=chunk.contiguous(), remember=past is not None or index < len(chunks))
            work.conv(decoder.conv_in)
            work.middle(decoder.mid_block)
            for level, following in zip(levels, [*levels[1:], None], strict=True):
                for block in cast(Iterable[ResidualBlock], level.resnets):
                    work.block(block)
                for sampler in cast(Iterable[Sampler], level.upsamplers):
                    assert following
                    once = isinstance(following.resnets[0].conv_shortcut, nn.Conv3d)  # a single block reads it
                    work.double(sampler, time=level.double_time, kept=not (plan.twice and once))
            work.conv(decoder.conv_out, decoder.norm_out, out=out)
            work.end()
    return pixels.permute(0, 4, 1, 2, 3)


@dataclass
class Doubled:
    """Twice the height and width of x, made anew whenever a band of it is wanted. Twice the frames too, where asked."""

    x: Tensor  # [B f H/2 W/2 C]
    sampler: Sampler
    frames: int

    @property
    def shape(self) -> tuple[int, ...]:
        batch, _, height, width, channels = self.x.shape
        return batch, self.frames, 2 * height, 2 * width, channels

    def band(self, top: int, bottom: int, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Rows [B F R W C], in `out` if given, and the sums for a group norm."""
        batch, frames, height, width, channels = self.shape
        count = self.x.shape[1]
        seen = self.x.new_empty(batch, count, bottom - top + 2, width, channels)
        _clear_outside(seen, top, bottom, height)
        first, last = max(top - 1, 0), min(bottom + 1, height)
        for row in (first, first + 1):  # even rows and odd ones, each a row of x
            target = seen[:, :, row - top + 1 : last - top + 1 : 2]
            source = self.x[:, :, row // 2 : row // 2 + target.shape[2], :, None]
            target.unflatten(3, (-1, 2)).copy_(source.expand(-1, -1, -1, -1, 2, -1))
        y = _conv2d(seen, self.sampler, padding=(0, 1))
        del seen
        if out is None:
            out = y if count == frames else y.new_empty(batch, frames, *y.shape[2:])
        return out, ops.place(y, _bias(self.sampler.conv)[1], out)


class Work:
    """One call: what it has made so far, and what a chunk needs of it."""

    def __init__(self, past: Past, plan: Plan, like: Tensor) -> None:
        self.plan = plan
        self.shelf = Shelf(past, plan.past, lanes(plan, like.device))
        self.x: Tensor | Doubled | None = None  # what came out last [B F H W C]; taken out to be freed
        self.sums = torch.empty(0)  # of it, see `ops.place`
        self.latents: Tensor | None = None  # of this chunk [B f h w C]
        self._itemsize = like.element_size()
        self._rows: dict[tuple[Any, ...], int] = {}

    def begin(self, x: Tensor, *, latents: Tensor | None = None, remember: bool) -> None:
        """A chunk [B F H W C]; `remember`: whether another one goes on from it."""
        self.x, self.latents, self.shelf.remember = x, latents, remember

    def end(self) -> Tensor:
        x, self.x, self.latents = self.x, None, None
        assert isinstance(x, Tensor)
        return x

    def middle(self, part: Middle) -> None:
        for block in cast(Iterable[ResidualBlock], part.resnets):
            self.block(block)

    def block(self, block: ResidualBlock) -> None:
        """A residual block."""
        x, self.x = self.x, None
        assert x is not None
        if isinstance(block.conv_shortcut, nn.Conv3d):
            kept = self._shortcut(block.conv_shortcut, x)
        else:
            assert isinstance(x, Tensor)
            kept = x
        y = _empty(kept, x.shape[:4], block.conv1.conv.out_channels)
        norm = self._norm(block.norm1, x.shape)
        self.sums = self._causal(block.conv1, x, norm, y)
        del x, norm
        self.sums = self._causal(block.conv2, y, self._norm(block.norm2, y.shape), kept, add=True)
        self.x = kept

    def conv(self, layer: CausalConv, norm: nn.Module | None = None, out: Tensor | None = None) -> None:
        """A causal convolution, into `out` [B F H W C] if given, after a norm if given."""
        x, self.x = self.x, None
        assert isinstance(x, Tensor)
        out = _empty(x, x.shape[:4], layer.conv.out_channels) if out is None else out
        self.sums = self._causal(layer, x, None if norm is None else self._norm(norm, x.shape), out)
        self.x = out

    def double(self, sampler: Sampler, *, time: bool, kept: bool) -> None:
        """Twice the height and width, and twice the frames, but the first of an odd number; made later if not kept."""
        x, self.x = self.x, None
        assert isinstance(x, Tensor)
        count = x.shape[1]
        doubled = Doubled(x, sampler, 2 * count - count % 2 if time else count)
        if not kept:
            self.x = doubled
            return
        out = _empty(x, doubled.shape[:4], x.shape[4])
        bands = self._bands("double", out.shape)
        self.sums = torch.cat([doubled.band(top, bottom, out[:, :, top:bottom])[1] for top, bottom in bands])
        self.x = out

    def halve(self, sampler: Sampler, *, time: bool) -> None:
        """Half the height and width, and half the frames, but the first of an odd number."""
        x, self.x = self.x, None
        assert isinstance(x, Tensor)
        batch, count, height, width, channels = x.shape
        single = count % 2 if time else count
        out = _empty(x, (batch, single + (count - single) // 2, height // 2, width // 2), channels)
        sums = []
        for top, bottom in self._bands("halve", out.shape):
            rows = x[:, :, 2 * top : 2 * bottom + 1]
            seen = x.new_empty(batch, out.shape[1], 2 * (bottom - top) + 1, width + 1, channels)
            seen[:, :, :, width].zero_()
            seen[:, :, rows.shape[2] :].zero_()
            inside = seen[:, :, : rows.shape[2], :width]
            inside[:, :single] = rows[:, :single]
            if single < count:
                torch.add(rows[:, single::2], rows[:, single + 1 :: 2], out=inside[:, single:]).mul_(0.5)
            y = _conv2d(seen, sampler, stride=2)
            sums.append(ops.place(y, _bias(sampler.conv)[1], out[:, :, top:bottom]))
        self.x, self.sums = out, torch.cat(sums)

    def _shortcut(self, layer: nn.Conv3d, x: Tensor | Doubled) -> Tensor:
        """A 1 x 1 x 1 convolution of all of x; where x is made anew each time, its sums are taken on the way."""
        out, sums = _empty(x.x if isinstance(x, Doubled) else x, x.shape[:4], layer.out_channels), []
        for top, bottom in self._bands("shortcut", x.shape):
            if isinstance(x, Doubled):
                rows, seen = x.band(top, bottom)
                sums.append(seen)
            else:
                rows = x[:, :, top:bottom]
            out[:, :, top:bottom] = F.linear(rows, layer.weight.flatten(1), layer.bias)
            del rows
        self.sums = torch.cat(sums) if sums else self.sums
        return out

    def _causal(
        self, layer: CausalConv, x: Tensor | Doubled, norm: Norm | None, out: Tensor, *, add: bool = False
    ) -> Tensor:
        """A causal convolution of x into `out`, or added to it -> the sums of `out`."""
        batch, frames, height, width, channels = x.shape
        before, edge, sums = self.shelf.before(layer), None, []
        for top, bottom in self._bands("causal", x.shape):
            first, last = max(top - 1, 0), min(bottom + 1, height)
            rows = x.band(first, last)[0] if isinstance(x, Doubled) else x[:, :, first:last]
            seen = rows.new_empty(batch, frames + 2, bottom - top + 2, width, channels)
            _clear_outside(seen, top, bottom, height)
            inside = seen[:, 2:, first - top + 1 : last - top + 1]
            if norm:
                norm(rows, first, inside)
            else:
                inside.copy_(rows)
            del rows, inside
            edge = self.shelf.exchange(layer, before, seen, top, height, edge)
            early, late = _bias(layer.conv)
            y = ops.causal_conv(seen.permute(0, 4, 1, 2, 3), layer.conv.weight, early, row_padding=0)
            y = y.permute(0, 2, 3, 4, 1).contiguous()
            sums.append(ops.place(y, late, out[:, :, top:bottom], add=add))
            self.shelf.settle()
            del seen, y
        return torch.cat(sums)

    def _norm(self, norm: nn.Module, shape: tuple[int, ...]) -> Norm:
        """Group norm by the sums of all of x, with the latents where it takes them, then SiLU."""
        group_norm = norm.norm_layer if isinstance(norm, LatentNorm) else norm
        assert isinstance(group_norm, nn.GroupNorm)
        _, frames, height, width, channels = shape
        each = channels // group_norm.num_groups
        groups = self.sums.sum(0).unflatten(2, (-1, each)).sum(3) / (frames * height * width * each)  # [B 2 G]
        mean, square = groups.repeat_interleave(each, dim=2).unbind(1)  # [B C]
        gain = group_norm.weight * (square - mean.square()).clamp_min(0).add(group_norm.eps).rsqrt()
        offset = group_norm.bias - mean * gain
        latents = None
        if isinstance(norm, LatentNorm):
            assert self.latents is not None
            latents = _pointwise(norm.conv_y, self.latents), _pointwise(norm.conv_b, self.latents)
        return lambda rows, top, out: ops.normalize(rows, gain, offset, out, latents, top)

    def _bands(self, work: Step, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
        """Rows of frames of a shape, from the first to before the last; the same in each chunk."""
        key = (work, *shape[2:])
        if key not in self._rows:
            self._rows[key] = rows_of(work, shape, self._itemsize, self.plan)
        height, rows = shape[2], self._rows[key]
        return ((top, min(top + rows, height)) for top in range(0, height, rows))


def lanes(plan: Plan, device: torch.device) -> Lanes | None:
    """What the past goes over where it has no room on a card."""
    return Lanes(device) if plan.past is not None and device.type == "cuda" else None


def _empty(like: Tensor, shape: tuple[int, ...], channels: int) -> Tensor:
    return like.new_empty(*shape, channels)


def _clear_outside(seen: Tensor, top: int, bottom: int, height: int) -> None:
    """Zeros in the row above the first of a frame, and in that below the last."""
    if top == 0:
        seen[:, :, 0].zero_()
    if bottom == height:
        seen[:, :, -1].zero_()


def _conv2d(x: Tensor, sampler: Sampler, *, stride: int = 1, padding: tuple[int, int] = (0, 0)) -> Tensor:
    """The convolution of single frames [B F H W C], its bias as `_bias` says."""
    early, _ = _bias(sampler.conv)
    y = F.conv2d(x.flatten(0, 1).permute(0, 3, 1, 2), sampler.conv.weight, early, stride, padding)
    return y.permute(0, 2, 3, 1).contiguous().unflatten(0, x.shape[:2])


def _pointwise(layer: Pointwise, x: Tensor) -> Tensor:
    """A 1 x 1 x 1 convolution as a matrix product."""
    return F.linear(x, layer.conv.weight.flatten(1), layer.conv.bias)


def _bias(layer: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    """The bias as the convolution gets it, and as `ops.place` does: on a GPU torch adds it in a pass of its own."""
    bias = layer.get_parameter("bias")
    return (None, bias) if bias.is_cuda else (bias, None)
