"""Weights of eight bits: how far they are from the full ones, and that a layer computes from them what they mean."""

import pytest
import torch
import torch.nn.functional as F
from toys import toy_checkpoint

from piying import ops
from piying.config import COGVIDEOX_5B
from piying.models import quant
from piying.models.linear import Linear

KINDS = ["int8", "fp8"]


@pytest.fixture
def weight():
    torch.manual_seed(0)
    return torch.randn(48, 256) * torch.logspace(-3, 1, 48)[:, None]  # rows of very different sizes


def meant(values, scale):
    return (values.double().unflatten(1, (scale.shape[1], -1)) * scale.double()[:, :, None]).flatten(1)


def quantised(layer, kind):
    """A layer with the weights of another, quantised."""
    made = Linear(layer.in_features, layer.out_features, layer.bias is not None).to(layer.weight.dtype)
    made.load_state_dict(layer.state_dict())
    values, scale = quant.quantise(layer.weight, kind)
    made.weight = torch.nn.Parameter(values, requires_grad=False)
    made.weight_scale = scale.to(layer.weight.dtype)
    return made


def test_int8_is_within_half_a_step_of_each_group_of_64(weight):
    values, scale = quant.quantise(weight, "int8")
    assert (values.dtype, values.shape, scale.dtype, scale.shape) == (
        torch.int8,
        (48, 256),
        torch.bfloat16,
        (48, 4),
    )
    step = scale.double().repeat_interleave(64, 1)
    assert ((meant(values, scale) - weight.double()).abs() <= 0.501 * step).all()
    assert (values.unflatten(1, (4, 64)).abs().amax(-1) >= 126).all()


def test_float8_is_within_a_sixteenth_of_each_value(weight):
    values, scale = quant.quantise(weight, "fp8")
    assert (values.dtype, scale.shape) == (torch.float8_e4m3fn, (48, 1))
    least = 2**-6 * scale.double()  # below, steps are all the same
    error = (meant(values, scale) - weight.double()).abs()
    assert (error <= torch.maximum(weight.double().abs() / 16, least / 16) * 1.001).all()
    assert (values.float().abs().amax(-1) == 448).all()


@pytest.mark.parametrize("kind", KINDS)
def test_scales_alone_are_those_of_the_values(weight, kind):
    assert torch.equal(quant.scales(weight, kind), quant.quantise(weight, kind)[1])


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_stay_zeros(kind):
    values, scale = quant.quantise(torch.zeros(3, 64), kind)
    assert not values.float().any() and scale.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_computes_from_what_its_weights_mean(kind, dtype):
    torch.manual_seed(0)
    layer = Linear(128, 40).to(dtype)
    small = quantised(layer, kind)
    x = torch.randn(2, 7, 128).to(dtype)
    plain = meant(*quant.quantise(layer.weight, kind))
    assert small.dtype == dtype and small.matrix(dtype).dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(small.matrix(dtype).double(), plain, rtol=eps, atol=1e-6)
    exact = F.linear(x.double(), plain, layer.bias.double())
    assert small(x).dtype == dtype
    assert (small(x).double() - exact).norm() / exact.norm() < 4 * eps


def test_the_products_of_blocks_are_quantised_and_nothing_else():
    checkpoint = toy_checkpoint(COGVIDEOX_5B)
    first = [name for name in quant.products(checkpoint.transformer) if name.startswith("transformer_blocks.0.")]
    inside = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "ff.net.0.proj", "ff.net.2")
    assert first == [f"transformer_blocks.0.{name}" for name in inside]
    assert len(quant.products(checkpoint.transformer)) == 6 * 2 and len(quant.products(checkpoint.text)) == 7 * 2


@pytest.mark.parametrize("kind", KINDS)
def test_products_of_eight_bits_are_those_of_what_both_sides_mean(kind):
    torch.manual_seed(0)
    layer = Linear(128, 40)
    x, small = torch.randn(2, 7, 128), quantised(layer, kind)
    for made in (layer, small):
        exact = made(x)
        made.narrow = True
        narrow = made(x)
        assert 0.005 < ((narrow - exact).norm() / exact.norm()).item() < 0.05  # rounded, and by no more than e4m3 does


def test_float8_weights_serve_products_of_eight_bits_as_they_are():
    small = quantised(Linear(128, 40), "fp8")
    assert small.narrow_weight().values is small.weight


def test_rows_that_several_layers_share_are_rounded_once():
    torch.manual_seed(0)
    layer, x = Linear(64, 8), torch.randn(3, 64)
    layer.narrow = True
    assert torch.equal(layer(x), layer(x, ops.narrow(x)))
