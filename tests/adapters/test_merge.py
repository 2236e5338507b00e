import pytest
import torch

from piying.adapters import attach
from piying.adapters.merge import merge
from piying.errors import PiyingError


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
def test_merged_is_what_live_is(ours, trained, run, dora):
    adapters = [(trained(seed=1, dora=dora), 0.8), (trained(seed=2), -0.5)]
    fitted = []
    for adapter, strength in adapters:
        fitted.append(attach.fit(ours, adapter))
        fitted[-1].strengthen(strength)
    with attach.attached(ours, *fitted):
        live = run(ours)
    merge(ours, adapters)
    assert (run(ours) - live).abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_undone_it_is_the_base_bit_by_bit(ours, trained, dtype):
    ours.to(dtype)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    for seed in range(3):
        merged = merge(ours, [(trained(seed=seed, dora=seed == 1), 1.0)])
        assert not torch.equal(ours.proj_out.weight, before["proj_out.weight"])
        merged.undo()
        assert all(torch.equal(before[name], tensor) for name, tensor in ours.state_dict().items())


def test_sums_are_rounded_once(ours, trained):
    """In bfloat16, against float64, but for what lies between two numbers of bfloat16."""
    one, two = trained(seed=1), trained(seed=2)
    ours.to(torch.bfloat16)
    weight = ours.proj_out.weight.double()
    for adapter in (one, two):
        layer = adapter.layers["proj_out"]
        weight = weight + layer.scale * layer.up.double() @ layer.down.double()
    merge(ours, [(one, 1.0), (two, 1.0)])
    assert (ours.proj_out.weight == weight.to(torch.bfloat16)).float().mean() > 0.995


def test_one_that_does_not_fit_leaves_the_base_alone(ours, trained):
    before = ours.proj_out.weight.clone()
    adapter = trained()
    adapter.layers["norm_final"] = adapter.layers["proj_out"]
    with pytest.raises(PiyingError, match="norm_final, which this model does not have"):
        merge(ours, [(trained(seed=1), 1.0), (adapter, 1.0)])
    assert torch.equal(ours.proj_out.weight, before)


def test_an_error_on_the_way_puts_the_first_weights_back(ours, trained, monkeypatch):
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    calls = []

    def change_of(weight, layer):
        calls.append(layer)
        if len(calls) == 5:
            raise MemoryError
        return torch.ones_like(weight)

    monkeypatch.setattr("piying.adapters.merge.change_of", change_of)
    with pytest.raises(MemoryError):
        merge(ours, [(trained(), 1.0)])
    assert all(torch.equal(before[name], tensor) for name, tensor in ours.state_dict().items())


def test_quantised_weights_are_refused(ours, trained):
    adapter = trained()
    ours.proj_out.weight = torch.nn.Parameter(torch.ones(64, 32, dtype=torch.int8), requires_grad=False)
    ours.proj_out.weight_scale = torch.ones(64, 1)
    with pytest.raises(PiyingError, match="proj_out is quantised; use the adapter live"):
        merge(ours, [(adapter, 1.0)])
