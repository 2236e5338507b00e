"""Each operation against its formula in float64."""

import pytest
import torch
import torch.nn.functional as F

from piying import ops


@pytest.mark.parametrize("shape", [(1, 8, 5, 6, 7), (2, 8, 5, 6, 7), (1, 40, 6, 90, 4)])  # the fast path, and not
@torch.no_grad()
def test_a_causal_convolution_is_a_3d_convolution_without_padding_in_time(shape):
    x, weight, bias = torch.randn(shape), torch.randn(6, shape[1], 3, 3, 3), torch.randn(6)
    expected = F.conv3d(x.double(), weight.double(), bias.double(), padding=(0, 1, 1))
    result = ops.causal_conv(x, weight, bias)
    assert result.shape == expected.shape
    assert torch.allclose(result.double(), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_groups_are_normed_by_the_sums_of_all_bands_and_then_scaled_by_the_latents():
    x, bias = torch.randn(2, 3, 8, 4, 6), torch.randn(6)  # [B F H W C]
    scale, shift = torch.randn(2, 2, 3, 4, 2, 6)  # [B f h w C]
    placed, out = torch.empty_like(x), torch.empty_like(x)
    sums = torch.cat([ops.place(x[:, :, rows], bias, placed[:, :, rows]) for rows in (slice(0, 3), slice(3, 8))])
    assert torch.equal(placed, x + bias)
    values = placed.double().permute(0, 4, 1, 2, 3)  # [B C F H W]
    total = sums.sum(0).double()
    assert torch.allclose(total[:, 0], values.sum((2, 3, 4)), atol=1e-4)
    assert torch.allclose(total[:, 1], values.square().sum((2, 3, 4)), rtol=1e-5)
    gain, offset = torch.randn(2, 2, 6)
    for top, bottom in ((0, 3), (3, 8)):
        ops.normalize(placed[:, :, top:bottom], gain, offset, out[:, :, top:bottom], (scale, shift), top)
    scale, shift = (
        part.repeat_interleave(2, 2).repeat_interleave(2, 3).permute(0, 4, 1, 2, 3).double() for part in (scale, shift)
    )
    normed = values * gain[:, :, None, None, None] + offset[:, :, None, None, None]
    expected = F.silu(normed * scale + shift)
    assert torch.allclose(out.permute(0, 4, 1, 2, 3).double(), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.no_grad()
def test_a_causal_convolution_in_half_precision_rounds_once(dtype):
    x, weight, bias = torch.randn(1, 8, 5, 6, 7), torch.randn(6, 8, 3, 3, 3), torch.randn(6)
    x, weight, bias = (part.to(dtype) for part in (x, weight, bias))
    exact = F.conv3d(x.double(), weight.double(), bias.double(), padding=(0, 1, 1))
    for rows in (1, 0):
        result = ops.causal_conv(x, weight, bias, row_padding=rows)
        expected = exact if rows else exact[:, :, :, 1:-1]
        assert result.dtype == dtype and result.shape == expected.shape
        assert torch.allclose(result.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-3)


def test_attention_adds_its_bias_to_scaled_logits():
    q, k, v = torch.randn(3, 2, 5, 3, 4).unbind(0)
    bias = torch.randn(1, 3, 5, 5)
    logits = torch.einsum("bqhd,bkhd->bhqk", q.double(), k.double()) * 0.7 + bias
    expected = torch.einsum("bhqk,bkhd->bqhd", logits.softmax(-1), v.double())
    assert torch.allclose(ops.attention(q, k, v, bias=bias, scale=0.7).double(), expected, atol=1e-5)


def turns(places):
    angles = torch.outer(places, torch.tensor([1.0, 0.5, 0.2, 0.01]))
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def test_rotations_keep_lengths_and_depend_on_distance_alone():
    q, k = torch.randn(2, 1, 1, 1, 8).unbind(0)
    near, far, zero, five = (turns(torch.tensor([place])) for place in (4.0, 9.0, 0.0, 5.0))
    assert torch.allclose(ops.rotate(q, far).norm(), q.norm())
    assert torch.allclose((ops.rotate(q, far) * ops.rotate(k, near)).sum(), (ops.rotate(q, five) * k).sum(), atol=1e-5)
    assert torch.equal(ops.rotate(q, zero), q)


def test_rotations_keep_the_type():
    x = torch.randn(1, 3, 2, 8, dtype=torch.bfloat16)
    assert ops.rotate(x, turns(torch.arange(3.0))).dtype == torch.bfloat16


@pytest.mark.gpu
def test_rotations_on_the_gpu_are_those_of_the_cpu():
    x, table = torch.randn(2, 3, 2, 8), turns(torch.arange(3.0))
    assert torch.allclose(ops.rotate(x.cuda(), table.cuda()).cpu(), ops.rotate(x, table), atol=1e-6)


def test_text_and_video_are_modulated_and_gated_apart():
    x, change, modulation = torch.randn(2, 5, 4), torch.randn(2, 5, 4), torch.randn(2, 2, 3, 4)
    shift, scale, gate = modulation.unbind(2)  # each [B 2 D], video and text
    for part, stream in ((slice(0, 2), 1), (slice(2, 5), 0)):
        expected = x[:, part] * (1 + scale[:, None, stream]) + shift[:, None, stream]
        assert torch.allclose(ops.modulate(x, modulation, 2)[:, part], expected, atol=1e-6)
        expected = x[:, part] + gate[:, None, stream] * change[:, part]
        assert torch.allclose(ops.add_gated(x, change, modulation, 2)[:, part], expected, atol=1e-6)
