"""The heavy operations as plain math, and the one place that picks a kernel for each.

Shapes: B batch, L text tokens, T video tokens, N = L + T with the text first, H heads, D width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def attention(q: Tensor, k: Tensor, v: Tensor, *, bias: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Full attention, softmax(q k^T scale + bias) v (arXiv:1706.03762, equation 1).

    q, k, v [B N H D]; bias [1 H N N] is added to the logits; scale is 1/sqrt(D) where not given. Returns [B N H D].
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale).transpose(1, 2)


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
    video, text = modulation[:, :, 2, None].unbind(1)  # each [B 1 D]
    return torch.cat(
        [
            torch.addcmul(x[:, :text_tokens], change[:, :text_tokens], text),
            torch.addcmul(x[:, text_tokens:], change[:, text_tokens:], video),
        ],
        dim=1,
    )


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3 x 3 x 3 convolution, padded by zeros in space and not at all in time.

    x [B C F+2 H W], weight [C_out C 3 3 3], bias [C_out] -> [B C_out F H W]. On the CPU PyTorch takes a slow path for a
    single small video; there a 2D convolution for each of the three frames that a result sees is twice as fast.
    """
    if x.device.type == "cpu" and len(x) == 1 and x[..., 0].numel() <= 20480:
        return _three_planes(x[0].transpose(0, 1), weight, bias).transpose(0, 1)[None]
    return F.conv3d(x, weight, bias, padding=(0, 1, 1))


def _three_planes(frames: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`causal_conv` of frames [F+2 C H W] as a sum of 2D convolutions -> [F C_out H W]."""
    count = len(frames) - 2
    y = F.conv2d(frames[:count], weight[:, :, 0], bias, padding=1)
    y += F.conv2d(frames[1 : count + 1], weight[:, :, 1], padding=1)
    y += F.conv2d(frames[2:], weight[:, :, 2], padding=1)
    return y
