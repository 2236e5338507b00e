"""What a training starts from."""

from dataclasses import replace

import pytest
import torch

from piying.config import COGVIDEOX_5B_I2V, NANO, TextConfig, VAEConfig
from piying.models import initial

TRANSFORMER = replace(
    COGVIDEOX_5B_I2V.transformer, layers=2, heads=2, head_width=16, text_tokens=6, text_width=24, latent_size=(4, 6)
)
VAE = VAEConfig(channels=(8, 8, 16, 16), blocks=1, groups=4)
TEXT = TextConfig(vocabulary=50, width=24, layers=2, heads=2, head_width=8, ff_width=40)
MODELS = [(initial.transformer, TRANSFORMER), (initial.vae, VAE), (initial.text, TEXT)]


@pytest.mark.parametrize(("build", "config"), MODELS, ids=["transformer", "vae", "text"])
def test_a_seed_decides_every_weight(build, config):
    torch.manual_seed(1)
    first = build(config, seed=7).state_dict()
    torch.manual_seed(2)
    again, other = build(config, seed=7).state_dict(), build(config, seed=8).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())


@torch.no_grad()
def test_a_new_transformer_predicts_zero_and_passes_its_input_through_every_block():
    model = initial.transformer(TRANSFORMER, seed=0)
    assert not model(torch.randn(1, 3, 32, 4, 6), torch.randn(1, 6, 24), torch.tensor([9])).any()
    modulations, x = model.modulations(torch.tensor([9])), torch.randn(1, 10, 32)
    assert torch.equal(model.transformer_blocks[1](x, modulations.blocks[1], None, 6), x)


@torch.no_grad()
def test_the_norms_of_a_new_autoencoder_do_not_see_the_latents():
    norm = initial.vae(VAE, seed=0).decoder.norm_out
    x = torch.randn(1, 8, 2, 8, 8)
    assert torch.allclose(norm(x, torch.randn(1, 16, 2, 1, 1)), norm.norm_layer(x), atol=1e-6)


def test_a_text_is_read_in_its_order_from_the_start():
    model = initial.text(NANO.text, seed=0)
    told, turned = model(torch.tensor([[40, 50, 60, 70, 1, 0, 0, 0], [60, 50, 40, 70, 1, 0, 0, 0]]))
    for here, there in ((0, 2), (2, 0), (3, 3)):
        assert (told[here] - turned[there]).norm() > 0.1 * told[here].norm()
