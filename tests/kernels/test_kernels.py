"""Each kernel against plain math: on the CPU by Triton's interpreter, and on a card as it is.

References are plain math in float64. In half precision a kernel may be no further from them than plain math in half
precision is.
"""

import os
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from toys import toy

from piying import ops
from piying.config import COGVIDEOX_2B, COGVIDEOX_5B
from piying.models.transformer import Transformer

HALF = (torch.bfloat16, torch.float16)
# batch, tokens, text tokens, width: odd, all text, no text, one token, the published text, the published width
ROWS = [(2, 11, 3, 40), (1, 5, 5, 24), (2, 6, 0, 16), (1, 1, 1, 8), (1, 229, 226, 16), (1, 2, 1, 1920)]
LARGE_ROWS = [(2, 3000, 226, 1920), (1, 2777, 226, 3072)]
# batch, tokens, heads, width of a head
HEADS = [(2, 5, 3, 16), (1, 1, 1, 8), (1, 70, 1, 64)]
LARGE_HEADS = [(2, 3000, 30, 64), (1, 2777, 48, 64)]


def cases(shapes, large):
    """Device, shape and type: on the CPU half precision for one shape, on a card everything."""
    on_cpu = [("cpu", shape, torch.float32) for shape in shapes] + [("cpu", shapes[0], dtype) for dtype in HALF]
    on_card = [("cuda", shape, dtype) for shape in (*shapes, *large) for dtype in (torch.float32, *HALF)]
    return [*on_cpu, *(pytest.param(*case, marks=pytest.mark.gpu) for case in on_card)]


@pytest.fixture(autouse=True)
def no_interpreter_on_a_card(request):
    on_card = request.node.get_closest_marker("gpu") is not None
    assert os.environ["TRITON_INTERPRET"] == ("0" if on_card else "1"), "run tests for a card by `pytest -m gpu`"


@pytest.fixture
def kernels(monkeypatch):
    """Turns the kernels on or off, whatever the device."""
    return lambda on: monkeypatch.setattr(ops, "serve", lambda *tensors: on)


def draw(device, dtype, *shapes):
    torch.manual_seed(0)
    return [torch.randn(shape).to(device, dtype).requires_grad_() for shape in shapes]


def norm(width, eps, device, dtype):
    made = nn.LayerNorm(width, eps)
    nn.init.normal_(made.weight, mean=1)
    nn.init.normal_(made.bias)
    return made.to(device, dtype).requires_grad_(False)


def far(x, reference):
    """Relative L2."""
    return ((x.double().cpu() - reference).norm() / reference.norm()).item()


def compare(kernels, device, dtype, operation, learned, fixed):
    """Values and gradients of an operation of tensors and fixed parts, with its kernel and without it."""
    torch.manual_seed(1)
    found = {}
    for way in ("reference", "plain", "kernel"):
        kernels(way == "kernel")
        kind = ("cpu", torch.float64) if way == "reference" else (device, dtype)
        tensors = [x.detach().to(*kind).requires_grad_() for x in learned]
        outputs = operation(*tensors, *(moved(part, *kind) for part in fixed))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        pulls = [torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(device, dtype) for y in outputs]
        grads = torch.autograd.grad(outputs, tensors, [pull.to(*kind) for pull in pulls])
        assert way == "reference" or {x.dtype for x in (*outputs, *grads)} == {dtype}
        found[way] = [*outputs, *grads]
    for reference, plain, kernel in zip(*found.values(), strict=True):
        assert kernel.shape == reference.shape
        if dtype == torch.float32:
            assert far(kernel, reference) < 1e-6
        else:
            assert far(kernel, reference) <= slack(device, reference) * far(plain, reference)


def slack(device, reference):
    """By what factor a kernel may be further away: few values leave it to chance, and the interpreter cuts bfloat16 off
    where a card rounds it, which is twice the error or a little more."""
    return 1.01 if device == "cuda" and reference.numel() > 10**5 else 2.5


def moved(part, device, dtype):
    if isinstance(part, nn.LayerNorm):
        copy = nn.LayerNorm(part.normalized_shape, part.eps)
        copy.load_state_dict(part.state_dict())
        return copy.to(device, dtype).requires_grad_(False)
    if isinstance(part, torch.Tensor):  # turns are float32 throughout
        return part.detach().to(device, torch.float64 if dtype == torch.float64 else part.dtype)
    return part


@pytest.mark.parametrize(("device", "shape", "dtype"), cases(ROWS, LARGE_ROWS), ids=str)
class TestRows:
    """What works on rows of text and video."""

    def test_adaptive_norm(self, kernels, device, shape, dtype):
        batch, tokens, text, width = shape
        x, table = draw(device, dtype, (batch, tokens, width), (batch, 2, 3, width))
        compare(kernels, device, dtype, ops.adaptive_norm, [x], [norm(width, 1e-5, device, dtype), table, text])

    def test_a_gated_residual_and_its_norm(self, kernels, device, shape, dtype):
        batch, tokens, text, width = shape
        x, change, gates, table = draw(device, dtype, *[(batch, tokens, width)] * 2, *[(batch, 2, 3, width)] * 2)
        fixed = [gates, norm(width, 1e-5, device, dtype), table, text]
        compare(kernels, device, dtype, ops.add_and_norm, [x, change], fixed)

    def test_a_gated_residual(self, kernels, device, shape, dtype):
        batch, tokens, text, width = shape
        x, change, table = draw(device, dtype, *[(batch, tokens, width)] * 2, (batch, 2, 3, width))
        compare(kernels, device, dtype, ops.add_gated, [x, change], [table, text])

    @torch.no_grad()
    def test_the_final_norms(self, kernels, device, shape, dtype):
        batch, tokens, text, width = shape
        tokens += 1  # some video
        x, table = draw(device, dtype, (batch, tokens, width), (batch, 2, width))
        norms = [norm(width, eps, device, dtype) for eps in (1e-5, 1e-3)]
        far_from = []
        reference = ops.final_norm(*(moved(part, "cpu", torch.float64) for part in (x, *norms, table)), text)
        for on in (False, True):
            kernels(on)
            made = ops.final_norm(x, *norms, table, text)
            assert made.shape == (batch, tokens - text, width) and made.dtype == dtype
            far_from.append(far(made, reference))
        assert far_from[1] <= (1e-6 if dtype == torch.float32 else slack(device, reference) * far_from[0])


@pytest.mark.parametrize("turned", [True, False], ids=["turned", "as they are"])
@pytest.mark.parametrize(("device", "shape", "dtype"), cases(HEADS, LARGE_HEADS), ids=str)
def test_heads_are_normed_and_turned(kernels, device, shape, dtype, turned):
    q, k = draw(device, dtype, shape, shape)
    angles = torch.randn(shape[1], shape[-1] // 2, dtype=torch.float64)
    turns = torch.stack((angles.cos(), angles.sin()), -1).float() if turned else None
    norms = [norm(shape[-1], 1e-6, device, dtype) for _ in range(2)]

    def place(q, k, norm_q, norm_k, turns):
        if q.dtype != torch.float64:
            return ops.place_heads(q, k, norm_q, norm_k, turns)
        q, k = norm_q(q), norm_k(k)
        return (q, k) if turns is None else (turn(q, turns), turn(k, turns))

    compare(kernels, device, dtype, place, [q, k], [*norms, turns])


def turn(x, turns):
    """The same in float64, which `ops.rotate` does not keep."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.view_as_complex(turns.contiguous())[:, None]).flatten(-2)


@pytest.mark.parametrize(
    ("device", "member"),
    [
        ("cpu", COGVIDEOX_5B),
        *(pytest.param("cuda", member, marks=pytest.mark.gpu) for member in (COGVIDEOX_2B, COGVIDEOX_5B)),
    ],
    ids=["cpu", "cuda, no turns", "cuda"],
)
def test_a_whole_transformer_predicts_and_learns_the_same(kernels, device, member):
    config = replace(toy(member).transformer, heads=3)
    torch.manual_seed(0)
    model = Transformer(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    model.to(device).requires_grad_(False)
    x, text = torch.randn(2, 3, 16, 4, 6, device=device), torch.randn(2, 8, 24, device=device)
    learned = [block.attn1.to_k.weight.requires_grad_() for block in model.transformer_blocks]
    timestep, found = torch.tensor([999, 17], device=device), []
    for on in (False, True):
        kernels(on)
        v = model(x, text, timestep)
        with torch.inference_mode():
            alone = model(x, text, timestep)
        found.append([v, alone, *torch.autograd.grad(v.square().mean(), learned)])
    for plain, kernel in zip(*found, strict=True):
        assert F.mse_loss(kernel, plain).sqrt() < 1e-5 * plain.norm() / plain.numel() ** 0.5


def test_kernels_read_tensors_with_gaps(kernels):
    wide, table = draw("cpu", torch.float32, (2, 7, 80), (3, 2, 3, 40))
    x, change, table = wide[..., :40], wide[..., 40:], table[1:]
    made = []
    for on in (False, True):
        kernels(on)
        made.append(ops.add_gated(x, change, table, 2))
    torch.testing.assert_close(*made)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_gelu_in_the_product_is_the_tanh_form(dtype):
    x, weight, bias = draw("cuda", dtype, (2, 300, 1920), (7680, 1920), (7680,))
    weight = weight / 1920**0.5
    linear = F.linear(*(part.double().cpu() for part in (x, weight, bias)))
    exact, other = (F.gelu(linear, approximate=form) for form in ("tanh", "none"))
    plain, made = F.gelu(F.linear(x, weight, bias), approximate="tanh"), ops.widen(x, weight, bias)
    assert far(made, exact) <= far(plain, exact)
    assert far(made, exact) < far(made, other)
