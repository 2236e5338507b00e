"""Blocks that run twice give the gradients of blocks that run once."""

import pytest
import torch
from toys import toy

from piying.adapters import attach
from piying.config import COGVIDEOX_5B_I2V, COGVIDEOX_15_5B_I2V, NANO
from piying.models.transformer import Transformer
from piying.train.tune.frozen import stream
from piying.train.tune.recompute import recomputed

EVERYWHERE = (*attach.ATTENTION, "norm1.linear", "ff.net.2", "text_proj", "proj_out")


def build(member):
    config = toy(member).transformer
    torch.manual_seed(0)
    transformer = Transformer(config)
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    frames = config.trained_grid[0] * config.patch[0]
    given = (torch.randn(2, frames, config.in_channels, *config.latent_size), torch.randn(2, config.text_tokens, 24))
    ofs = None if config.ofs_width is None else torch.full((2,), 2.0)
    return transformer, (*given, torch.tensor([100, 900]), ofs)


def adapted(transformer, *, dora=False):
    transformer.requires_grad_(False)
    adapter = attach.create(transformer, rank=3, alpha=2, targets=EVERYWHERE, dora=dora)
    fitted = attach.fit(transformer, adapter, trainable=True)
    for layer in fitted.by_name().values():
        torch.nn.init.normal_(layer.up, std=0.1)
    attach.attach(transformer, fitted)
    return fitted


def gradients(module, transformer, given):
    module.zero_grad()
    transformer(*given).square().mean().backward()
    return {name: parameter.grad.clone() for name, parameter in module.named_parameters() if parameter.grad is not None}


def agree(found, wanted):
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)
    assert any(gradient.abs().max() > 0 for gradient in wanted.values())


@pytest.mark.parametrize("member", [NANO, COGVIDEOX_5B_I2V, COGVIDEOX_15_5B_I2V], ids=lambda member: member.name)
def test_every_weight_gets_the_gradient_that_it_gets_without(member):
    transformer, given = build(member)
    wanted = gradients(transformer, transformer, given)
    with recomputed(transformer):
        found = gradients(transformer, transformer, given)
    agree(found, wanted)
    agree(gradients(transformer, transformer, given), wanted)  # afterwards all is as it was


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
def test_an_adapter_on_a_frozen_streamed_base_learns_the_same(dora):
    transformer, given = build(COGVIDEOX_15_5B_I2V)
    fitted = adapted(transformer, dora=dora)
    wanted = gradients(fitted, transformer, given)
    with recomputed(transformer, around=stream(transformer, torch.device("cpu"))):
        for _ in range(2):
            agree(gradients(fitted, transformer, given), wanted)


def test_streamed_blocks_are_asked_for_in_reverse_on_the_way_back():
    transformer, given = build(NANO)
    fitted, asked = adapted(transformer), []
    around = stream(transformer, torch.device("cpu"))

    def watched(index, backward):
        asked.append((index, backward))
        return around(index, backward)

    with recomputed(transformer, around=watched):
        gradients(fitted, transformer, given)
    assert asked == [(0, False), (1, False), (1, True), (0, True)]


def test_attention_is_computed_once_and_its_result_kept(monkeypatch):
    transformer, given = build(NANO)
    fitted, asked = adapted(transformer), []

    class Counting(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            asked.append(str(func))
            return func(*args, **(kwargs or {}))

    wanted = gradients(fitted, transformer, given)
    with Counting(), recomputed(transformer, on_host=True):
        found = gradients(fitted, transformer, given)
    forward = [name for name in asked if "scaled_dot_product" in name and "backward" not in name]
    assert len(forward) == 2 == len([name for name in asked if "scaled_dot_product" in name and "backward" in name])
    assert len([name for name in asked if name == "aten.gelu.default"]) == 4  # all else is run twice
    agree(found, wanted)
