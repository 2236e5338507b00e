"""The members of the family hold what was published of them."""

import pytest
import torch

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_15_5B, FAMILY, NANO
from piying.models.text import TextEncoder
from piying.models.transformer import Transformer
from piying.models.vae import VAE


def parameters(build, config):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(config).parameters())


@pytest.mark.parametrize(("member", "billions"), [(COGVIDEOX_2B, 1.694), (COGVIDEOX_5B, 5.570)])
def test_the_transformers_have_their_published_size(member, billions):
    assert parameters(Transformer, member.transformer) / 1e9 == pytest.approx(billions, abs=5e-4)


def test_autoencoder_and_text_encoder_have_their_published_size():
    assert parameters(VAE, COGVIDEOX_5B.vae) / 1e6 == pytest.approx(215.6, abs=0.05)
    assert parameters(TextEncoder, COGVIDEOX_5B.text) / 1e9 == pytest.approx(4.762, abs=5e-4)


def test_nano_fits_into_forty_megabytes_at_two_bytes_a_weight():
    parts = ((Transformer, NANO.transformer), (VAE, NANO.vae), (TextEncoder, NANO.text))
    assert 2 * sum(parameters(build, config) for build, config in parts) < 40e6


def test_positions_were_trained_on_the_default_video():
    for member in FAMILY.values():
        if member.transformer.patch[0] == 1:
            time, height, width = member.transformer.trained_grid
            assert (4 * (time - 1) + 1, (16 * height, 16 * width)) == (member.frames, member.size)


def test_default_videos_divide_into_patches():
    for member in FAMILY.values():
        assert member.size[0] % 16 == member.size[1] % 16 == 0
        assert member.frames % (8 * member.transformer.patch[0]) == 1
    assert COGVIDEOX_15_5B.frames == 81


def test_names_are_those_of_the_members():
    assert all(name == member.name for name, member in FAMILY.items())
