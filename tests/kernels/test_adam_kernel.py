"""A step of Adam by its kernel beside plain math: on the CPU by Triton's interpreter, and on a card as it is.

A step moves a weight by moments that are not rounded yet, so for the same state both move it alike; what they keep is
rounded at random, to one of the same two codes and true in the mean.
"""

import os

import pytest
import torch
from torch import nn

from piying.kernels.moments import BETAS, BLOCK, FIRST, SECOND, Key, Pace
from piying.train.recipe import OptimizerRecipe
from piying.train.tune import adam
from piying.train.tune.adam import Adam, decode, encode

PACE = Pace(0.01, 0.999, *(1 - beta**3 for beta in BETAS))
KEY = Key(5, 2, 1, 0)
STEADY = OptimizerRecipe(rate=0.01, warmup=1, decay=0.0, weight_decay=0.1)
SIZES = [(1,), (255,), (3, 7, 50), (4, 512)]
LARGE = [(7680, 1920), (1000, 1001)]
MOMENTS = (("first", FIRST), ("second", SECOND))

anywhere = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])


def cases(shapes, large):
    """Device and shape."""
    on_card = [pytest.param("cuda", shape, marks=pytest.mark.gpu) for shape in (*shapes, *large)]
    return [*(("cpu", shape) for shape in shapes), *on_card]


@pytest.fixture(autouse=True)
def no_interpreter_on_a_card(request):
    on_card = request.node.get_closest_marker("gpu") is not None
    assert os.environ["TRITON_INTERPRET"] == ("0" if on_card else "1"), "run tests for a card by `pytest -m gpu`"


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    """Turns the kernel on or off, whatever the device. On, unless a test says otherwise."""

    def turn(on):
        monkeypatch.setattr(adam, "serve", lambda *tensors: on)

    turn(True)
    return turn


def drawn(shape, device, dtype=torch.float32):
    """A weight, a gradient and moments of sizes that differ by orders of magnitude."""
    torch.manual_seed(0)
    spread = torch.logspace(-4, 1, torch.Size(shape).numel()).view(shape)
    weight, gradient, first = (torch.randn(shape) * scale for scale in (1, spread, spread))
    kept = {}
    for (name, codes), moment in zip(MOMENTS, (first, (spread * (0.5 + torch.rand(shape))).square()), strict=True):
        flat = nn.functional.pad(moment.flatten(), (0, -moment.numel() % BLOCK)).view(-1, BLOCK)
        coded, kept[f"{name}_largest"] = encode(flat, torch.Generator().manual_seed(1), codes)
        kept[name] = coded.flatten()
    return weight.to(device, dtype), gradient.to(device), {name: part.to(device) for name, part in kept.items()}


def stepped(weight, gradient, kept, key=KEY, mean=None):
    """Weight, moments and squares after a step of copies."""
    weight, gradient, kept = weight.clone(), gradient.clone(), {name: part.clone() for name, part in kept.items()}
    squares = adam.step(weight, gradient, kept, PACE, key, mean or (lambda squares: squares / weight.numel()))
    return weight, kept, squares


@pytest.fixture
def both(kernels):
    """A step in plain math, and one by the kernel."""

    def run(*state, **how):
        for on in (False, True):
            kernels(on)
            yield stepped(*state, **how)

    return run


def alike(weight, plain):
    torch.testing.assert_close(weight, plain, rtol=1e-6, atol=1e-6)  # of a step that is 0.01 long


def meant(kept):
    return [decode(kept[name].view(-1, BLOCK), kept[f"{name}_largest"], codes) for name, codes in MOMENTS]


@pytest.mark.parametrize(("device", "shape"), cases(SIZES, LARGE), ids=str)
def test_a_weight_moves_as_in_plain_math_and_moments_are_a_code_apart(both, device, shape):
    state = drawn(shape, device)
    (plain, expected, squares), (weight, kept, found) = both(*state)
    alike(weight, plain)
    torch.testing.assert_close(found, squares, rtol=1e-5, atol=0)
    for name, codes in MOMENTS:
        torch.testing.assert_close(kept[f"{name}_largest"], expected[f"{name}_largest"], rtol=1e-5, atol=0)
        a, b = (each[name].int() & codes.last for each in (kept, expected))
        assert (a - b).abs().max() <= 1
        assert not a[weight.numel() :].any()
    a, b = (meant(each)[0] for each in (kept, expected))
    assert (a.sign() * b.sign() >= 0).all()


@anywhere
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gradient_is_read_in_its_own_type_and_with_gaps(both, device, dtype):
    weight, _, kept = drawn((20, 30), device)
    gradient = torch.randn(30, 20, device=device).to(dtype).T
    (plain, _, squares), (stored, _, found) = both(weight, gradient, kept)
    alike(stored, plain)
    torch.testing.assert_close(found, squares, rtol=1e-5, atol=0)


@anywhere
def test_an_update_is_clipped_by_the_mean_square_of_the_whole_parameter(both, device):
    weight, gradient, kept = drawn((600,), device)
    seen = []

    def mean(squares):
        seen.append(squares.clone())
        return torch.full_like(squares, 9.0)

    (plain, *_), (clipped, *_) = both(weight, gradient, kept, mean=mean)
    alike(clipped, plain)
    torch.testing.assert_close(*seen, rtol=1e-5, atol=0)
    free, *_ = stepped(weight, gradient, kept, mean=torch.zeros_like)
    decayed = weight * PACE.keep
    torch.testing.assert_close(free - decayed, 3 * (clipped - decayed), rtol=1e-4, atol=1e-6)


@anywhere
def test_moments_are_true_in_the_mean(device):
    """Many copies of one block, each with random numbers of its own."""
    copies = 256
    weight, gradient, kept = drawn((BLOCK,), device)
    gradient = gradient * torch.randn(BLOCK, device=device).sign()
    many = {name: part.repeat(copies) for name, part in kept.items()}
    _, found, _ = stepped(weight.repeat(copies), gradient.repeat(copies), many)
    for old, new, seen, beta in zip(meant(kept), meant(found), (gradient, gradient.square()), BETAS, strict=True):
        exact = old.double().lerp(seen.double(), 1 - beta)[0]
        off = new.double().mean(0) / exact - 1
        large = exact.abs() > 1e-3 * exact.abs().max()
        assert len(new.unique(dim=0)) > copies / 2
        assert off[large].abs().max() < 0.015 and off[large].mean().abs() < 1e-3


@anywhere
def test_a_small_second_moment_never_falls_to_zero(device):
    gradient = torch.full((BLOCK,), 1e-6, device=device)
    gradient[0], gradient[1] = 1.0, 0.0
    kept = {name: torch.zeros_like(part) for name, part in drawn((BLOCK,), device)[2].items()}
    _, kept, _ = stepped(torch.ones_like(gradient), gradient, kept)
    assert kept["second"][1] == 0 and (kept["second"][2:] == 1).all() and kept["second"][0] == SECOND.last
    assert not kept["first"][1] and torch.equal(kept["first_largest"], torch.full_like(kept["first_largest"], 0.1))


@anywhere
def test_bfloat16_weights_are_rounded_by_chance_and_true_in_the_mean(kernels, device):
    weight, gradient, kept = drawn((8,), device, torch.bfloat16)
    kernels(False)
    exact, *_ = stepped(weight.float(), gradient, kept)
    kernels(True)
    copies = 4096
    many = {name: kept[name][:8].repeat(copies) for name, _ in MOMENTS}
    many |= {f"{name}_largest": kept[f"{name}_largest"].repeat(copies * 8 // BLOCK) for name, _ in MOMENTS}
    rounded, *_ = stepped(weight.repeat(copies), gradient.repeat(copies), many)
    rounded = rounded.view(copies, 8).float()
    ulp = exact.abs() / 128
    assert ((rounded - exact).abs() <= ulp).all()
    assert ((rounded.mean(0) - exact).abs() <= 5 * 0.5 * ulp / copies**0.5).all()
    assert (rounded != rounded[0]).any(0).sum() > 4


@anywhere
def test_what_is_not_finite_of_a_gradient_counts_as_zero_and_is_reported(both, device):
    weight, gradient, kept = drawn((600,), device)
    gradient[[3, 300, 599]] = torch.tensor([torch.inf, -torch.inf, torch.nan], device=device)
    (plain, expected, squares), (weight, found, reported) = both(weight, gradient, kept)
    assert not squares.isfinite() and not reported.isfinite()
    assert weight.isfinite().all() and all(moment.isfinite().all() for moment in meant(found))
    alike(weight, plain)
    torch.testing.assert_close(found["second_largest"], expected["second_largest"], rtol=1e-5, atol=0)


@anywhere
def test_random_numbers_come_of_all_of_the_key_and_of_it_alone(device):
    state = drawn((2000,), device, torch.bfloat16)
    keys = [KEY, KEY, *(KEY._replace(**{name: 7}) for name in KEY._fields), KEY._replace(seed=2**63 - 1)]
    (weight, kept, _), same, *others = [stepped(*state, key=key) for key in keys]
    assert torch.equal(weight, same[0]) and all(torch.equal(kept[name], same[1][name]) for name in kept)
    for other_weight, other, _ in others:
        assert (other_weight != weight).any()
        assert all((other[name] != kept[name]).float().mean() > 0.1 for name, _ in MOMENTS)


def lesson(device, dtype=torch.float32):
    torch.manual_seed(0)
    weight = nn.Parameter((torch.randn(20, 30) / 5).to(device, dtype))
    inputs = torch.randn(64, 20, device=device)
    wanted = inputs[:, :1].sin()
    return weight, lambda: ((inputs.to(dtype) @ weight).tanh().mean(1, keepdim=True) - wanted).square().mean()


@anywhere
def test_its_path_stays_beside_that_of_adamw(device):
    weight, loss = lesson(device)
    other, same = lesson(device)
    start = weight.detach().clone()
    optimizer = Adam([weight], STEADY, 100, fused=True)
    theirs = torch.optim.AdamW([other], 0.01, (0.9, 0.98), weight_decay=0.1)
    for step in range(100):
        optimizer.descend(loss(), step)
        theirs.zero_grad()
        same().backward()
        theirs.step()
    assert (weight - other).norm() < 0.15 * (other - start).norm()
    assert loss() < 1.2 * same() + 1e-3


@anywhere
def test_bfloat16_weights_learn_steps_that_rounding_to_the_nearest_would_lose(device):
    weight = nn.Parameter(torch.full((1024,), 1.0, dtype=torch.bfloat16, device=device))
    optimizer = Adam([weight], OptimizerRecipe(rate=1e-3, warmup=1, decay=0.0, weight_decay=0.0), 10, fused=True)
    for step in range(10):
        optimizer.descend(weight.sum(), step)
    assert abs(float(weight.detach().float().mean()) - 0.99) < 7e-4


@anywhere
def test_a_restored_one_goes_on_bit_by_bit_wherever_its_states_wait(device):
    runs = [lesson(device, torch.bfloat16) for _ in range(3)]
    whole, broken, resumed = (
        Adam([weight], STEADY, 8, fused=True, on_host=on_host)
        for (weight, _), on_host in zip(runs, (False, False, True), strict=True)
    )
    for step in range(8):
        whole.descend(runs[0][1](), step)
        if step == 4:
            runs[2][0].data.copy_(runs[1][0].data)
            resumed.restore({name: tensor.clone() for name, tensor in broken.tensors().items()})
        later = step >= 4
        (resumed if later else broken).descend(runs[1 + later][1](), step)
    assert torch.equal(runs[0][0], runs[2][0])
    kept, again = whole.tensors(), resumed.tensors()
    assert all(torch.equal(kept[name].cpu(), again[name].cpu()) for name in kept)
    assert all(tensor.device.type == "cpu" for tensor in again.values())


@anywhere
def test_a_backward_pass_that_still_wants_the_weight_before_fails(device):
    weight, loss = lesson(device)
    waiting = weight.square().sum()
    Adam([weight], STEADY, 1, fused=True).descend(loss(), 0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        waiting.backward()


def test_a_weight_with_gaps_takes_plain_math():
    weight = nn.Parameter(torch.ones(6, 8)[:, ::2].T)
    Adam([weight], STEADY, 2, fused=True).descend(weight.square().sum(), 0)
    assert not weight.is_contiguous()
    torch.testing.assert_close(weight.detach(), torch.full((4, 6), 1 - 0.01 * 0.1 - 0.01))
