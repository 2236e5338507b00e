"""Adam in 8 bits: its codes, its rounding, its steps, against torch's."""

import gc
import weakref

import pytest
import torch
from torch import nn

from piying.kernels.moments import BLOCK, FIRST, SECOND
from piying.train.recipe import OptimizerRecipe
from piying.train.tune.adam import Adam, decode, encode, round_by_chance

STEADY = OptimizerRecipe(rate=0.01, warmup=1, decay=0.0, weight_decay=0.1)


def dice():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("codes", [FIRST, SECOND], ids=["first", "second"])
def test_codes_keep_magnitude_and_sign_and_their_mean_is_true(codes):
    torch.manual_seed(1)
    x = torch.randn(1, BLOCK) * torch.logspace(-4, 1, BLOCK)
    x = x if codes.signed else x.square()
    random = dice()
    decoded = torch.stack([decode(*encode(x, random, codes), codes) for _ in range(400)])
    large = x.abs() > 1e-3 * x.abs().max()
    assert ((decoded[0] - x).abs() / x.abs())[large].max() < 0.1
    assert ((decoded.mean(0) - x).abs() / x.abs())[large].max() < 0.01
    assert (decoded[0].sign() * x.sign() >= 0).all()


def test_zeros_stay_zeros_and_the_largest_is_exact():
    x = torch.zeros(2, BLOCK)
    x[1, 3] = -7.0
    for codes in (FIRST, SECOND):
        kept = x if codes.signed else x.abs()
        assert torch.equal(decode(*encode(kept, dice(), codes), codes), kept)


def test_a_small_second_moment_never_falls_to_zero():
    x = torch.full((1, BLOCK), 1e-12)
    x[0, 0], x[0, 1] = 1.0, 0.0
    decoded = decode(*encode(x, dice(), SECOND), SECOND)
    assert decoded[0, 1] == 0 and (decoded[0, 2:] >= 1e-12).all() and (decoded[0, 2:] < 2e-8).all()


def test_rounding_to_bfloat16_keeps_the_mean():
    x = torch.tensor([1.0 + 2**-10, -3.0 - 2**-9, 0.1])
    random = dice()
    rounded = torch.stack([round_by_chance(x, random) for _ in range(4000)]).float()
    assert (rounded.unique(dim=0).shape[0]) > 2
    torch.testing.assert_close(rounded.mean(0), x, rtol=3e-4, atol=0)
    assert torch.equal(round_by_chance(torch.tensor([1.5]), random).float(), torch.tensor([1.5]))


def regression(dtype=torch.float32):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 1)).to(dtype)
    inputs = torch.randn(64, 20)
    return model, inputs.to(dtype), inputs[:, :1].sin().to(dtype)


def test_its_path_stays_beside_that_of_adamw():
    model, inputs, wanted = regression()
    other, _, _ = regression()
    optimizer = Adam(model.parameters(), STEADY, 100, fused=True)
    theirs = torch.optim.AdamW(other.parameters(), 0.01, (0.9, 0.98), weight_decay=0.1)
    start = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    for step in range(100):
        optimizer.descend((model(inputs) - wanted).square().mean(), step)
        theirs.zero_grad()
        (other(inputs) - wanted).square().mean().backward()
        theirs.step()
    ours, exact = (torch.cat([p.detach().flatten() for p in m.parameters()]) for m in (model, other))
    assert (ours - exact).norm() < 0.15 * (exact - start).norm()
    assert (model(inputs) - wanted).square().mean() < 1.2 * (other(inputs) - wanted).square().mean() + 1e-3


def test_fused_into_the_backward_pass_it_does_the_same_and_leaves_no_gradient():
    weights = []
    for fused in (True, False):
        model, inputs, wanted = regression(torch.bfloat16)
        optimizer = Adam(model.parameters(), STEADY, 5, fused=fused)
        for step in range(5):
            norm = optimizer.descend((model(inputs) - wanted).square().mean(), step)
            assert norm > 0 and all(parameter.grad is None for parameter in model.parameters())
        weights.append([parameter.detach().clone() for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_bfloat16_weights_learn_steps_that_rounding_to_the_nearest_would_lose():
    weight = nn.Parameter(torch.full((4096,), 1.0, dtype=torch.bfloat16))
    optimizer = Adam([weight], OptimizerRecipe(rate=1e-4, warmup=1, decay=0.0, weight_decay=0.0), 100, fused=True)
    for step in range(100):
        optimizer.descend(weight.sum(), step)
    assert abs(float(weight.detach().float().mean()) - 0.99) < 5e-4


def test_a_loss_that_is_not_finite_changes_nothing():
    model, inputs, wanted = regression()
    optimizer = Adam(model.parameters(), STEADY, 5, fused=True)
    optimizer.descend((model(inputs) - wanted).square().mean(), 0)
    before = [tensor.clone() for tensor in (*model.parameters(), *optimizer.tensors().values())]
    assert not optimizer.descend((model(inputs) * torch.inf).square().mean(), 1).isfinite()
    assert all(
        torch.equal(a, b) for a, b in zip(before, (*model.parameters(), *optimizer.tensors().values()), strict=True)
    )


def test_the_norm_that_stands_for_a_loss_that_is_not_finite_is_where_the_loss_is(monkeypatch):
    monkeypatch.setattr("piying.train.tune.adam._all_finite", lambda value: False)
    optimizer = Adam([nn.Parameter(torch.ones(4))], STEADY, 5, fused=True)
    assert optimizer.descend(torch.ones((), device="meta"), 0).device.type == "meta"


def test_a_restored_one_goes_on_bit_by_bit():
    model, inputs, wanted = regression(torch.bfloat16)
    other, _, _ = regression(torch.bfloat16)
    first, second = (Adam(m.parameters(), STEADY, 8, fused=True) for m in (model, other))
    for step in range(4):
        first.descend((model(inputs) - wanted).square().mean(), step)
    other.load_state_dict(model.state_dict())
    second.restore({name: tensor.clone() for name, tensor in first.tensors().items()})
    for step in range(4, 8):
        first.descend((model(inputs) - wanted).square().mean(), step)
        second.descend((other(inputs) - wanted).square().mean(), step)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_states_take_two_bytes_a_weight():
    optimizer = Adam([nn.Parameter(torch.zeros(1000, 1024))], STEADY, 1, fused=True)
    assert sum(tensor.nbytes for tensor in optimizer.tensors().values()) < 2.05 * 1000 * 1024


def test_weights_that_nobody_wants_any_more_are_freed():
    """A way that did not fit leaves its memory to the next one."""
    model, inputs, wanted = regression()
    optimizer = Adam(model.parameters(), STEADY, 5, fused=True)
    optimizer.descend((model(inputs) - wanted).square().mean(), 0)
    seen = [weakref.ref(parameter) for parameter in model.parameters()]
    del model, optimizer
    gc.collect()
    assert not any(weight() is not None for weight in seen)
