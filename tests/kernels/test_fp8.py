"""Rows as float8 beside plain math: on the CPU by Triton's interpreter, and on a card as it is.

The interpreter drops the carry where a mantissa rounds up to the next power of two, so there values are drawn that need
no rounding, and what is rounded is held to an error.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from toys import toy

from piying import ops
from piying.config import COGVIDEOX_5B
from piying.models.quant import narrowed
from piying.models.transformer import Transformer

SHAPES = [(2, 11, 40), (1, 1, 8), (3, 64), (2, 1920)]
LARGE = [(2, 3000, 1920), (1, 2777, 12288)]
CARD = [
    pytest.param(shape, dtype, marks=pytest.mark.gpu)
    for shape in (*SHAPES, *LARGE)
    for dtype in (torch.float32, torch.bfloat16, torch.float16)
]


def both(monkeypatch, x, **way):
    """Plain and by the kernel."""
    made = []
    for on in (False, True):
        monkeypatch.setattr(ops, "serve", lambda *tensors, on=on: on)
        made.append(ops.narrow(x, **way))
    return made


def meant(narrow):
    return narrow.values.double() * narrow.scale.double()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rows_that_need_no_rounding_are_taken_as_they_are(monkeypatch, shape, dtype):
    torch.manual_seed(0)
    values = torch.randn(shape).mul(100).clamp(-400, 400).to(torch.float8_e4m3fn).float()
    values[..., -1] = 448
    scale = 2.0 ** torch.randint(-8, 3, (*shape[:-1], 1))
    for made in both(monkeypatch, (values * scale).to(dtype)):
        assert torch.equal(made.values.float(), values) and torch.equal(made.scale, scale)


def test_a_row_of_zeros_stays_one(monkeypatch):
    for made in both(monkeypatch, torch.zeros(2, 24)):
        assert not made.values.float().any() and made.scale.isfinite().all()


def test_gelu_comes_before_the_rounding(monkeypatch):
    torch.manual_seed(0)
    x = 3 * torch.randn(4, 200)
    exact = F.gelu(x.double(), approximate="tanh")
    plain, kernel = both(monkeypatch, x, gelu=True)
    torch.testing.assert_close(kernel.scale, plain.scale, rtol=1e-5, atol=0)
    assert (meant(plain) - exact).norm() / exact.norm() < 0.03
    assert (meant(kernel) - exact).norm() / exact.norm() < 0.1  # see above


@pytest.mark.parametrize(("shape", "dtype"), CARD)
def test_a_card_rounds_as_plain_math_does(monkeypatch, shape, dtype):
    torch.manual_seed(0)
    x = torch.randn(shape, device="cuda").to(dtype)
    for gelu in (False, True):
        plain, kernel = both(monkeypatch, x, gelu=gelu)
        torch.testing.assert_close(kernel.scale, plain.scale, rtol=1e-5, atol=0)
        apart = (kernel.values.float() != plain.values.float()).double().mean()
        assert apart < 1e-3  # a scale that differs in its last bit moves what lies on a boundary


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bias", [True, False])
def test_a_card_multiplies_what_both_sides_mean(dtype, bias):
    if not ops.multiplies_narrow(torch.device("cuda")):
        assert torch.cuda.get_device_capability() < (8, 9)
        return
    torch.manual_seed(0)
    x, weight = torch.randn(2, 300, 1920, device="cuda"), torch.randn(7680, 1920, device="cuda") / 1920**0.5
    offset = torch.randn(7680, device="cuda").to(dtype) if bias else None
    x, weight = ops.narrow(x.to(dtype)), ops.narrow(weight.to(dtype))
    exact = F.linear(meant(x), meant(weight), None if offset is None else offset.double())
    made = ops.narrow_product(x, weight, offset, dtype)
    assert made.dtype == dtype and (made.double() - exact).norm() / exact.norm() < 5e-3


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@torch.no_grad()
def test_a_whole_transformer_is_near_its_exact_self_and_then_exact_again(device):
    torch.manual_seed(0)
    config = replace(toy(COGVIDEOX_5B).transformer, heads=4)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = Transformer(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.to(device, dtype)
    x, text = torch.randn(2, 3, 16, 4, 6), torch.randn(2, 8, 24)
    x, text, timestep = x.to(device, dtype), text.to(device, dtype), torch.tensor([999, 17], device=device)
    exact = model(x, text, timestep)
    with narrowed(model):
        narrow = model(x, text, timestep)
    assert 1e-3 < ((narrow - exact).norm() / exact.norm()).item() < 0.02
    assert torch.equal(model(x, text, timestep), exact)
