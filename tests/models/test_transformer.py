"""Every member of the family at toy size against diffusers: same weights, same inputs."""

from dataclasses import replace

import pytest
import torch
from diffusers import CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_5B_I2V, COGVIDEOX_15_5B, COGVIDEOX_15_5B_I2V, NANO
from piying.errors import UsageError
from piying.models.transformer import Transformer
from piying.weights.part_json import transformer_json

MEMBERS = (COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_5B_I2V, COGVIDEOX_15_5B, COGVIDEOX_15_5B_I2V, NANO)


def toy(member):
    full = member.transformer
    return replace(
        full,
        layers=2,
        heads=2,
        head_width=16,
        text_tokens=6,
        text_width=24,
        time_width=32,
        ofs_width=32 if full.ofs_width else None,
        latent_size=(8, 12),
        frames=9,
    )


def pair(config):
    """The reference with random weights everywhere, and ours with the same."""
    torch.manual_seed(0)
    theirs = CogVideoXTransformer3DModel.from_config(transformer_json(config)).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.2)
        if config.positions == "rope+learned":
            theirs.patch_embed.pos_embedding.normal_()
    ours = Transformer(config)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def reference_turns(config, frames, height, width):
    """Cosines and sines as the reference pipeline prepares them."""
    time, rows, columns = config.patch
    grid, base = (height // rows, width // columns), (config.latent_size[0] // rows, config.latent_size[1] // columns)
    if time == 1:
        crop = get_resize_crop_region_for_grid(grid, base[1], base[0])
        return get_3d_rotary_pos_embed(config.head_width, crop, grid, frames)
    return get_3d_rotary_pos_embed(config.head_width, None, grid, frames // time, grid_type="slice", max_size=(64, 64))


def error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


@torch.no_grad()
def compare(config, frames, height, width):
    theirs, ours = pair(config)
    x = torch.randn(2, frames, config.in_channels, height, width)
    text = torch.randn(2, config.text_tokens, config.text_width)
    timestep = torch.tensor([999, 17])
    ofs = torch.tensor([2.0, 3.0]) if config.ofs_width else None
    turns = None if config.positions == "sincos" else reference_turns(config, frames, height, width)
    expected = theirs(x, text, timestep, ofs=ofs, image_rotary_emb=turns).sample
    assert error(ours(x, text, timestep, ofs), expected) < 1e-5


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_every_member_predicts_what_diffusers_predicts(member):
    config = toy(member)
    compare(config, 4 if config.patch[0] == 2 else 3, *config.latent_size)


@pytest.mark.parametrize("size", [(4, 6), (10, 6), (6, 20), (12, 8)])
@pytest.mark.parametrize("member", [COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_15_5B], ids=lambda member: member.name)
def test_other_sizes_and_lengths_than_the_trained_ones_agree_too(member, size):
    compare(toy(member), 6, *size)


def test_the_parts_of_forward_can_be_computed_apart():
    config = toy(NANO)
    _, ours = pair(config)
    x, text = torch.randn(1, 3, 32, 8, 12), torch.randn(1, 6, 24)
    timestep = torch.tensor([500])
    apart = ours.predict(x, ours.embed_text(text), ours.modulations(timestep))
    assert torch.equal(apart, ours(x, text, timestep))


def test_positions_made_while_generating_serve_training():
    config = replace(toy(NANO), frames=13)  # a shape of its own: nothing is cached yet
    _, ours = pair(config)
    x, text, timestep = torch.randn(1, 4, 32, 8, 12), torch.randn(1, 6, 24), torch.tensor([500])
    with torch.inference_mode():
        ours(x, text, timestep)
    ours(x, text, timestep).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in ours.parameters())


@torch.no_grad()
def test_fewer_frames_take_the_first_learned_positions():
    embedding = pair(toy(COGVIDEOX_5B_I2V))[1].patch_embed
    embedding.proj.bias.zero_()
    tokens = embedding(torch.zeros(1, 2, 32, 8, 12), (2, 4, 6))  # positions alone
    assert torch.equal(tokens, embedding.pos_embedding[:, 6 : 6 + 2 * 4 * 6])


@pytest.mark.parametrize("shape", [(3, 10, 12), (4, 8, 12), (3, 8, 14)])
def test_learned_positions_refuse_another_size(shape):
    frames, height, width = shape
    ours = Transformer(toy(COGVIDEOX_5B_I2V))
    with pytest.raises(UsageError, match=r"learned positions for \(3, 4, 6\) only"):
        ours(torch.zeros(1, frames, 32, height, width), torch.zeros(1, 6, 24), torch.tensor([1]))


def test_latents_that_do_not_divide_into_patches_are_refused():
    ours = Transformer(toy(COGVIDEOX_15_5B))
    with pytest.raises(UsageError, match=r"latents of \(3, 8, 12\) .* use multiples of \(2, 2, 2\)"):
        ours(torch.zeros(1, 3, 16, 8, 12), torch.zeros(1, 6, 24), torch.tensor([1]))


def test_a_missing_offset_is_refused():
    ours = Transformer(toy(COGVIDEOX_15_5B_I2V))
    with pytest.raises(UsageError, match="ofs=None"):
        ours(torch.zeros(1, 2, 32, 8, 12), torch.zeros(1, 6, 24), torch.tensor([1]))
