"""The heavy operations as plain math, and the one place that picks a kernel for each.

Shapes: B batch, L text tokens, T video tokens, N = L + T with the text first, H heads, D width.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piying.kernels.attention import attend
from piying.kernels.machine import multiplies_narrow as multiplies
from piying.kernels.machine import serve

NARROW = torch.float8_e4m3fn
LEAST = 1e-12  # of a scale, which a row of zeros has too


def attention(q: Tensor, k: Tensor, v: Tensor, *, bias: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Full attention, softmax(q k^T scale + bias) v (arXiv:1706.03762, equation 1), by the fastest back end here.

    q, k, v [B N H D]; bias [1 H N N] is added to the logits; scale is 1/sqrt(D) where not given. Returns [B N H D].
    """
    return attend(q, k, v, bias, scale)


def place_heads(
    q: Tensor, k: Tensor, norm_q: nn.LayerNorm, norm_k: nn.LayerNorm, turns: Tensor | None
) -> tuple[Tensor, Tensor]:
    """q and k [B N H D], normed for each head and, where there are turns [N D/2 2], turned."""
    whole = q.shape[-1].bit_count() == 1  # a power of two, which the kernel works on
    if whole and serve(q, norm_q.weight, norm_q.bias, norm_k.weight, norm_k.bias):
        from piying.kernels import heads

        return heads.norm_and_turn(q, k, norm_q.weight, norm_q.bias, norm_k.weight, norm_k.bias, turns, norm_q.eps)
    q, k = norm_q(q), norm_k(k)
    return (q, k) if turns is None else (rotate(q, turns), rotate(k, turns))


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Rotary positions (arXiv:2104.09864, equation 34): each pair of neighbouring channels is turned by its angle.

    x [B N H D]; turns [N D/2 2] float32, cosine and sine. Computed in float32, returned in the type of x. On the CPU a
    product of complex numbers, which is one pass; elsewhere real products, which compilers fuse.
    """
    pairs = x.float().unflatten(-1, (-1, 2))
    if x.device.type == "cpu":
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turns)[:, None])
    else:
        cos, sin = turns[:, None].unbind(-1)
        first, second = pairs.unbind(-1)
        turned = torch.stack((first * cos - second * sin, first * sin + second * cos), -1)
    return turned.flatten(-2).to(x.dtype)


def adaptive_norm(x: Tensor, norm: nn.LayerNorm, modulation: Tensor, text_tokens: int) -> Tensor:
    """LayerNorm of x and then `modulate`, with its shapes."""
    if serve(x, norm.weight, norm.bias, modulation):
        from piying.kernels import adaptive_norm as kernel

        return kernel.norm(x, modulation, norm.weight, norm.bias, text_tokens, norm.eps)
    return modulate(norm(x), modulation, text_tokens)


def add_and_norm(
    x: Tensor, change: Tensor, gates: Tensor, norm: nn.LayerNorm, modulation: Tensor, text_tokens: int
) -> tuple[Tensor, Tensor]:
    """`add_gated` with the gates of one table, and the sum's `adaptive_norm` with another: the sum, and its norm."""
    if serve(x, norm.weight, norm.bias, gates, modulation):
        from piying.kernels import adaptive_norm as kernel

        return kernel.add_norm(x, change, gates, modulation, norm.weight, norm.bias, text_tokens, norm.eps)
    x = add_gated(x, change, gates, text_tokens)
    return x, modulate(norm(x), modulation, text_tokens)


def modulate(x: Tensor, modulation: Tensor, text_tokens: int) -> Tensor:
    """Adaptive norm, x (1 + scale) + shift (DiT, arXiv:2212.09748), with one expert for video and one for text.

    x [B N D]; modulation [B 2 3 D] is (video, text) x (shift, scale, gate). Returns [B N D].
    """
    video, text = modulation[:, :, :, None].unbind(1)  # each [B 3 1 D]
    return torch.cat(
        [
            torch.addcmul(text[:, 0], x[:, :text_tokens], 1 + text[:, 1]),
            torch.addcmul(video[:, 0], x[:, text_tokens:], 1 + video[:, 1]),
        ],
        dim=1,
    )


def add_gated(x: Tensor, change: Tensor, modulation: Tensor, text_tokens: int) -> Tensor:
    """The residual x + gate change, gated for video and text apart. Shapes as in `modulate`."""
    if serve(x, modulation):
        from piying.kernels import gated

        return gated.add(x, change, modulation, text_tokens)
    video, text = modulation[:, :, 2, None].unbind(1)  # each [B 1 D]
    return torch.cat(
        [
            torch.addcmul(x[:, :text_tokens], change[:, :text_tokens], text),
            torch.addcmul(x[:, text_tokens:], change[:, text_tokens:], video),
        ],
        dim=1,
    )


def final_norm(x: Tensor, first: nn.LayerNorm, second: nn.LayerNorm, table: Tensor, text_tokens: int) -> Tensor:
    """Both norms before the output, the second scaled and shifted, of the video alone.

    x [B L+T D]; table [B 2 D] is shift and scale. Returns [B T D].
    """
    if not (torch.is_grad_enabled() and x.requires_grad) and serve(
        x, first.weight, first.bias, second.weight, second.bias, table
    ):
        from piying.kernels import final_norm as kernel

        inner, outer = ((norm.weight, norm.bias, norm.eps) for norm in (first, second))
        return kernel.final_norm(x, table, inner, outer, text_tokens)
    shift, scale = table[:, :, None].unbind(1)
    return torch.addcmul(shift, second(first(x[:, text_tokens:])), 1 + scale)


def widen(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A linear layer and GELU in its tanh form (arXiv:1606.08415). x [.. in], weight [out in], bias [out] -> [.. out].

    On a GPU in half precision and where nothing learns, the product applies it before it rounds (cuBLASLt's epilogue,
    whose GELU is the tanh form), so that the wide result is written once and not read.
    """
    half = x.is_cuda and x.dtype == weight.dtype == bias.dtype and x.dtype in (torch.bfloat16, torch.float16)
    learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or bias.requires_grad)
    if half and not learns and not torch.compiler.is_compiling():
        return torch._addmm_activation(bias, x.flatten(0, -2), weight.T, use_gelu=True).unflatten(0, x.shape[:-1])
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")


class Narrow(NamedTuple):
    """A matrix of eight bits: each value times the scale of its row."""

    values: Tensor  # float8 (e4m3) [.. D]
    scale: Tensor  # float32 [.. 1]


def multiplies_narrow(device: torch.device) -> bool:
    """Whether products of eight bits run there, and so faster than those of sixteen."""
    return device.type == "cuda" and multiplies(torch.cuda.current_device() if device.index is None else device.index)


def narrow(x: Tensor, *, gelu: bool = False) -> Narrow:
    """x [.. D], or its GELU in the tanh form, each row scaled so that its largest value is the largest of float8."""
    if serve(x):
        from piying.kernels import fp8

        return Narrow(*fp8.narrow(x, LEAST, gelu=gelu))
    x = F.gelu(x.float(), approximate="tanh") if gelu else x.float()
    scale = (x.abs().amax(-1, keepdim=True) / torch.finfo(NARROW).max).clamp_min(LEAST)
    return Narrow((x / scale).to(NARROW), scale)


def narrow_product(x: Narrow, weight: Narrow, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """x W^T + b with both of eight bits. x [.. in], weight [out in], bias [out] -> [.. out] in a type.

    On a card by its matrix units of that kind, which sum in float32, cut short, and round to bfloat16.
    """
    if not x.values.is_cuda:
        y = F.linear(x.values.float(), weight.values.float()) * x.scale * weight.scale[:, 0]
        return (y if bias is None else y + bias).to(dtype)
    rows, scales = x.values.flatten(0, -2), x.scale.flatten(0, -2)
    inside = bias if bias is not None and bias.dtype == torch.bfloat16 else None
    y = torch._scaled_mm(
        rows, weight.values.T, scales, weight.scale.T, inside, out_dtype=torch.bfloat16, use_fast_accum=True
    )
    y = y.unflatten(0, x.values.shape[:-1]).to(dtype)
    return y if bias is None or inside is not None else y + bias


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor | None, *, row_padding: int = 1) -> Tensor:
    """3 x 3 x 3 convolution, padded by zeros in width, in height where `row_padding` says so, and not at all in time.

    x [B C F+2 H W], weight [C_out C 3 3 3], bias [C_out] -> [B C_out F H W]. On the CPU PyTorch takes a slow path for a
    single small video; there a 2D convolution for each of the three frames that a result sees is twice as fast. That
    rounds each of the three, so it is for float32. float16 is slower still, so it is computed in float32.
    """
    on_cpu = x.device.type == "cpu"
    if on_cpu and x.dtype == torch.float16:
        offset = None if bias is None else bias.float()
        return causal_conv(x.float(), weight.float(), offset, row_padding=row_padding).half()
    if on_cpu and x.dtype == torch.float32 and row_padding and len(x) == 1 and x[..., 0].numel() <= 20480:
        return _three_planes(x[0].transpose(0, 1), weight, bias).transpose(0, 1)[None]
    return F.conv3d(x, weight, bias, padding=(0, row_padding, 1))


def _three_planes(frames: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`causal_conv` of frames [F+2 C H W] as a sum of 2D convolutions -> [F C_out H W]."""
    count = len(frames) - 2
    y = F.conv2d(frames[:count], weight[:, :, 0], bias, padding=1)
    y += F.conv2d(frames[1 : count + 1], weight[:, :, 1], padding=1)
    y += F.conv2d(frames[2:], weight[:, :, 2], padding=1)
    return y


def place(y: Tensor, bias: Tensor | None, out: Tensor, *, add: bool = False) -> Tensor:
    """Writes y + bias, and what `out` holds where `add` says so, into `out`; gives the sums for a group norm of it.

    y [B f R W C], bias [C] or none, out [B F R W C], a band of rows; where f is less than F, frames are doubled. Gives
    [P B 2 C] float32, the sum and the sum of squares of what was written, in P parts. Added in float32.
    """
    if bias is not None and serve(out, bias):
        from piying.kernels import group_norm

        return group_norm.place(y, bias, out, add=add)
    sums = []
    for frame, place in enumerate(_places(y.shape[1], out.shape[1])):
        value, target = y[:, place].float(), out[:, frame]
        value = value if bias is None else value + bias.float()
        target.copy_(value + target if add else value)
        seen = target.float()
        sums.append(torch.stack([seen.sum((1, 2)), seen.square().sum((1, 2))], dim=1))
    return torch.stack(sums)


def normalize(
    x: Tensor, gain: Tensor, offset: Tensor, out: Tensor, latents: tuple[Tensor, Tensor] | None = None, top: int = 0
) -> None:
    """Writes silu(x gain + offset) into `out`, or silu((x gain + offset) scale + shift).

    x, out [B F R W C], rows from `top` on of a frame; gain, offset [B C] float32. Scale and shift are per latent cell,
    [B f h w C] (arXiv:2209.09002, equation 3). Computed in float32.
    """
    if serve(out, gain, offset):
        from piying.kernels import group_norm

        return group_norm.normalize(x, gain, offset, out, latents, top)
    if latents:
        cell = x.shape[3] // latents[0].shape[3]
        rows = torch.arange(top, top + x.shape[2], device=x.device) // cell
    for frame, place in enumerate(_places(latents[0].shape[1] if latents else x.shape[1], x.shape[1])):
        value = torch.addcmul(offset[:, None, None], x[:, frame].float(), gain[:, None, None])
        if latents:
            scale, shift = (part[:, place, rows].float().repeat_interleave(cell, dim=2) for part in latents)
            value = value.mul_(scale).add_(shift)
        out[:, frame] = F.silu(value)


def _places(before: int, after: int) -> list[int]:
    """Where each of `after` frames was before they were doubled, but the first of an odd number."""
    places = list(range(before))
    while len(places) < after:
        single = len(places) % 2
        places = places[:single] + [place for place in places[single:] for _ in range(2)]
    return places
