"""An adapter on a transformer: what is trained, what is left alone, and that nothing stays when it is off."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig
from toys import quantised

from piying.adapters import attach
from piying.adapters.adapter import Layer
from piying.adapters.lora import LoRA, change_of, row_norms
from piying.errors import UsageError
from piying.models import quant
from piying.models.linear import Linear


def inputs():
    return torch.randn(1, 2, 16, 4, 6), torch.randn(1, 8, 24), torch.tensor([300])


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
def test_a_new_adapter_changes_nothing_yet(ours, run, dora):
    plain = run(ours)
    adapter = attach.create(ours, rank=4, alpha=2, dora=dora)
    assert len(adapter.layers) == 2 * 4 and (adapter.ranks, adapter.alphas) == ([4], [2.0])
    with attach.attached(ours, attach.fit(ours, adapter)):
        assert (run(ours) - plain).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["int8", "fp8"])
@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
def test_on_quantised_weights_an_adapter_is_what_it_is_on_those_that_they_mean(ours, trained, run, dora, kind):
    adapter, plain = trained(dora=dora), run(ours)
    quantised(ours, kind)
    with attach.attached(ours, attach.fit(ours, adapter)):
        made = run(ours)
    assert not torch.equal(run(ours), plain)
    for layer in quant.products(ours).values():
        layer.weight, layer.weight_scale = torch.nn.Parameter(layer.matrix(torch.float32), requires_grad=False), None
    with attach.attached(ours, attach.fit(ours, adapter)):
        torch.testing.assert_close(made, run(ours))


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
def test_gradients_are_those_of_peft(ours, theirs, trained, dora):
    """Those of A, B and m, in a transformer that is frozen itself."""
    adapter = trained(dora=dora, targets=("to_q", "ff.net.2"))
    fitted = attach.fit(ours, adapter, trainable=True)
    attach.attach(ours, fitted)
    theirs.add_adapter(LoraConfig(r=4, lora_alpha=2, target_modules=["to_q", "net.2"], use_dora=dora))
    reference = dict(theirs.named_parameters())
    for name, layer in adapter.layers.items():
        reference[f"{name}.lora_A.default.weight"].data = layer.down
        reference[f"{name}.lora_B.default.weight"].data = layer.up
        if dora:
            reference[f"{name}.lora_magnitude_vector.default.weight"].data = layer.magnitude
    x, text, timestep = inputs()
    ours(x, text, timestep).square().mean().backward()
    theirs(x, text, timestep).sample.square().mean().backward()
    for name, layer in fitted.by_name().items():
        torch.testing.assert_close(layer.down.grad, reference[f"{name}.lora_A.default.weight"].grad)
        torch.testing.assert_close(layer.up.grad, reference[f"{name}.lora_B.default.weight"].grad)
        if dora:
            expected = reference[f"{name}.lora_magnitude_vector.default.weight"].grad
            torch.testing.assert_close(layer.magnitude.grad, expected)
    assert all(parameter.grad is None for parameter in ours.parameters())


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
def test_training_learns_and_touches_the_adapter_alone(ours, dora):
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    fitted = attach.fit(ours, attach.create(ours, rank=4, alpha=4, dora=dora), trainable=True)
    attach.attach(ours, fitted)
    optimizer = torch.optim.AdamW(fitted.parameters(), lr=0.02)
    torch.manual_seed(0)
    (x, text, timestep), losses = inputs(), []
    target = torch.randn(1, 2, 16, 4, 6)
    for _ in range(8):
        loss = (ours(x, text, timestep) - target).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.98 * losses[0]
    after = ours.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    learned = fitted.adapter()
    made = ours(x, text, timestep).detach()
    with torch.no_grad(), attach.attached(ours, attach.fit(ours, learned)):  # as a file of it would do
        torch.testing.assert_close(ours(x, text, timestep), made)


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
@pytest.mark.parametrize("autocast", [False, True], ids=["", "autocast"])
def test_a_frozen_base_in_bfloat16_trains_an_adapter_in_float32(ours, trained, dora, autocast):
    x, text, timestep = inputs()
    adapter = trained(dora=dora)
    with torch.no_grad(), attach.attached(ours, attach.fit(ours, adapter)):
        exact = ours(x, text, timestep)
    if not autocast:
        ours, x, text = ours.to(torch.bfloat16), x.bfloat16(), text.bfloat16()
    fitted = attach.fit(ours, adapter, trainable=True)
    attach.attach(ours, fitted)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        v = ours(x, text, timestep)
    v.float().square().mean().backward()
    assert ((v.float() - exact).norm() / exact.norm()).item() < 0.03
    for parameter in fitted.parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        assert parameter.grad.isfinite().all() and parameter.grad.any()


@pytest.mark.parametrize("trainable", [False, True])
def test_a_small_gain_of_dora_is_felt_on_a_layer_in_bfloat16(trainable):
    torch.manual_seed(0)
    base = Linear(64, 64).bfloat16()
    layer = Layer(0.01 * torch.randn(4, 64), torch.zeros(64, 4), 4.0)
    layer = replace(layer, magnitude=1.0015 * row_norms(base.weight, layer))
    x = torch.randn(16, 64).bfloat16()
    with torch.no_grad():
        made = LoRA(layer, base, device=x.device, trainable=trainable)(x, base(x), base).float()
    wanted = x.float() @ change_of(base.weight, layer).T
    assert (made - wanted).norm() < 0.02 * wanted.norm()


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
def test_compiled_blocks_follow_every_switch(ours, trained, run, dora):
    """Compiled before anything is attached: what is attached later must still be noticed."""
    one, two = (attach.fit(ours, trained(seed=seed, dora=dora)) for seed in (1, 2))
    plain = run(ours)
    expected = []
    for adapters in ((one,), (one, two)):
        with attach.attached(ours, *adapters):
            expected.append(run(ours))
    for block in ours.transformer_blocks:
        block.compile(backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(run(ours), plain)
    for adapters, made in zip(((one,), (one, two)), expected, strict=True):
        attach.attach(ours, *adapters)
        torch.testing.assert_close(run(ours), made)
    one.strengthen(0.0)
    attach.attach(ours, one)
    torch.testing.assert_close(run(ours), plain)
    attach.detach(ours)
    torch.testing.assert_close(run(ours), plain)


def test_training_works_compiled_and_with_checkpointed_blocks(ours, trained):
    x, text, timestep = inputs()
    adapter = trained(dora=True)
    gradients = []
    for compiled in (False, True):
        fitted = attach.fit(ours, adapter, trainable=True)
        attach.attach(ours, fitted)
        if compiled:
            for block in ours.transformer_blocks:
                block.compile(backend="aot_eager", fullgraph=True)
                plain = block.forward
                block.forward = lambda *values, plain=plain: torch.utils.checkpoint.checkpoint(
                    plain, *values, use_reentrant=False
                )
        ours(x, text, timestep).square().mean().backward()
        gradients.append([parameter.grad for parameter in fitted.parameters()])
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second)


def test_order_plays_no_part(ours, trained, run):
    one, two = attach.fit(ours, trained(seed=1)), attach.fit(ours, trained(seed=2, dora=True))
    with attach.attached(ours, one, two):
        forward = run(ours)
    with attach.attached(ours, two, one):
        torch.testing.assert_close(run(ours), forward)


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
def test_a_weight_of_zero_is_the_base_and_half_is_half_the_change(ours, trained, run, dora):
    """Of one last layer, where halves add up."""
    plain, fitted = run(ours), attach.fit(ours, trained(dora=dora, targets=("proj_out",)))
    attach.attach(ours, fitted)
    whole = run(ours)
    fitted.strengthen(0.5)
    torch.testing.assert_close(run(ours), (plain + whole) / 2)
    fitted.strengthen(0.0)
    assert torch.equal(run(ours), plain)


def test_what_was_attached_before_is_back_afterwards_even_after_an_error(ours, trained, run):
    plain = run(ours)
    attach.attach(ours, attach.fit(ours, trained(seed=1)))
    first = run(ours)
    with pytest.raises(ZeroDivisionError), attach.attached(ours):
        assert torch.equal(run(ours), plain)
        raise ZeroDivisionError
    assert torch.equal(run(ours), first)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"rank": 0, "alpha": 1}, "rank=0"),
        ({"rank": 4, "alpha": float("nan")}, "alpha=nan"),
        ({"rank": 4, "alpha": 2, "targets": ("to_x",)}, "target=to_x: no layer ends so"),
    ],
)
def test_an_adapter_that_makes_no_sense_is_not_created(ours, values, line):
    with pytest.raises(UsageError, match=line):
        attach.create(ours, **values)


def test_a_fingerprint_knows_the_weights_and_not_how_they_are_kept(ours, trained):
    first = attach.fingerprint(ours)
    attach.attach(ours, attach.fit(ours, trained()))
    assert attach.fingerprint(ours) == first == attach.fingerprint(ours.to(torch.bfloat16))
    ours.proj_out.weight.data *= 1.01
    assert attach.fingerprint(ours) != first
