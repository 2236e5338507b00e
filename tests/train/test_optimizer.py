from collections import OrderedDict

import pytest
import torch
from torch import nn

from piying.config import NANO
from piying.models import initial
from piying.models.text import TextEncoder
from piying.models.transformer import Transformer
from piying.models.vae import VAE
from piying.train.optimizer import Muon, Optimizer, curve, is_hidden, orthogonalize
from piying.train.recipe import OptimizerRecipe


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16)])
def test_orthogonalized_matrices_keep_their_directions_and_have_singular_values_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    s = torch.linalg.svdvals(orthogonalize(matrices))
    assert s.min() > 0.5 and s.max() < 1.3
    u0, _, v0 = torch.linalg.svd(matrices, full_matrices=False)
    nearest = u0 @ v0
    cosine = (orthogonalize(matrices) * nearest).sum() / orthogonalize(matrices).norm() / nearest.norm()
    assert cosine > 0.97


def test_an_update_has_the_size_of_one_of_adamw():
    matrix = nn.Parameter(torch.zeros(32, 8, 2, 2))
    matrix.grad = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(0))
    Muon([matrix], rate=1.0, weight_decay=0.0).step()
    assert 0.15 < matrix.square().mean().sqrt() < 0.25


def test_matrices_of_one_shape_are_stepped_as_if_alone():
    start = torch.randn(3, 6, 10, generator=torch.Generator().manual_seed(0))
    together = [nn.Parameter(matrix.clone()) for matrix in start]
    alone = [nn.Parameter(matrix.clone()) for matrix in start]
    optimizers = [Muon(together, 0.1, 0.01), *(Muon([matrix], 0.1, 0.01) for matrix in alone)]
    for parameters in (together, alone):
        for index, parameter in enumerate(parameters):
            parameter.grad = torch.full_like(parameter, index + 1.0) + start[index]
    for optimizer in optimizers:
        optimizer.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other)


def test_muon_trains_the_matrices_of_blocks_and_adamw_everything_else():
    def hidden(model):
        return {name for name, parameter in model.named_parameters() if is_hidden(name, parameter)}

    with torch.device("meta"):
        transformer, vae, text = Transformer(NANO.transformer), VAE(NANO.vae), TextEncoder(NANO.text)
    assert {name.split(".", 2)[2] for name in hidden(transformer)} == {
        *(f"attn1.{part}.weight" for part in ("to_q", "to_k", "to_v", "to_out.0")),
        "ff.net.0.proj.weight",
        "ff.net.2.weight",
    }
    assert "encoder.down_blocks.0.resnets.0.conv1.conv.weight" in hidden(vae)
    assert "encoder.conv_in.conv.weight" not in hidden(vae)
    assert not [name for name in hidden(vae) if "norm" in name]
    assert "embedding.weight" not in hidden(text)
    assert "blocks.0.attention.q.weight" in hidden(text)


def test_queries_whose_logits_nothing_scales_move_as_much_less():
    text = initial.text(NANO.text, 0)
    before = {name: parameter.detach().clone() for name, parameter in text.named_parameters()}
    value = text(torch.arange(12).view(2, 6)).square().mean()
    Optimizer(text, OptimizerRecipe(warmup=1, weight_decay=0.0), 10).descend(value, 0)
    moved = {name: (parameter - before[name]).norm().item() for name, parameter in text.named_parameters()}
    for part in ("k", "v", "out"):
        ratio = moved["blocks.1.attention.q.weight"] / moved[f"blocks.1.attention.{part}.weight"]
        assert ratio == pytest.approx(NANO.text.head_width**-0.5, rel=0.3)


def test_the_rate_warms_up_holds_and_falls_to_zero():
    shares = [curve(step, 100, 10, 0.3) for step in range(101)]
    assert shares[0] == pytest.approx(0.1)
    assert shares[9:71] == [1.0] * 62
    assert shares[85] == pytest.approx(0.5)
    assert shares[100] == 0


def test_a_restored_optimizer_goes_on_as_if_it_had_never_stopped():
    dice = torch.Generator().manual_seed(0)
    data = torch.randn(6, 8, 4, generator=dice)
    whole, resumed = (nn.Sequential(OrderedDict(block=nn.Linear(4, 4), out=nn.Linear(4, 1))) for _ in range(2))
    first, second = (Optimizer(model, OptimizerRecipe(warmup=1), 6) for model in (whole, resumed))

    def step(model, optimizer, index):
        optimizer.descend(model(data[index]).square().mean(), index)

    for index in range(3):
        step(whole, first, index)
    resumed.load_state_dict(whole.state_dict())
    second.restore({name: tensor.clone() for name, tensor in first.tensors().items()})
    for index in range(3, 6):
        step(whole, first, index)
        step(resumed, second, index)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
