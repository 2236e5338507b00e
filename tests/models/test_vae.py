"""The autoencoder at toy size against diffusers, and what its chunks rest on."""

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX

from piying.config import VAEConfig
from piying.models.vae import VAE, to_frames, to_pixels
from piying.models.vae_parts import FRAME_CHUNK, LATENT_CHUNK, schedule
from piying.weights.part_json import vae_json

TOY = VAEConfig(channels=(8, 8, 16, 24), blocks=1, groups=4, latent_channels=4)


@pytest.fixture(scope="module")
def pair():
    """The reference with random weights everywhere, and ours with the same."""
    torch.manual_seed(0)
    theirs = AutoencoderKLCogVideoX.from_config(vae_json(TOY, (32, 48))).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    ours = VAE(TOY)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize(("batch", "frames"), [(1, 49), (2, 17), (1, 9), (2, 9), (1, 1), (2, 8), (1, 13)])
@torch.no_grad()
def test_encode_gives_the_moments_of_diffusers(pair, batch, frames):
    theirs, ours = pair
    pixels = torch.randn(batch, 3, frames, 24, 32)
    expected = theirs.encode(pixels).latent_dist
    mean, logvar = ours.encode(pixels)
    assert mean.shape == (batch, 4, (frames + 3) // 4, 3, 4)
    assert error(mean, expected.mean) < 1e-5
    assert error(logvar, expected.logvar) < 1e-5


@pytest.mark.parametrize(("batch", "frames"), [(1, 13), (2, 5), (1, 3), (2, 3), (1, 1), (2, 2), (1, 6)])
@torch.no_grad()
def test_decode_gives_the_pixels_of_diffusers(pair, batch, frames):
    theirs, ours = pair
    latents = torch.randn(batch, 4, frames, 3, 4)
    pixels = ours.decode(latents)
    assert pixels.shape == (batch, 3, 4 * frames - 3 * (frames % 2), 24, 32)
    assert error(pixels, theirs.decode(latents).sample) < 1e-5


def test_the_first_chunk_takes_the_remainder():
    assert schedule(13, LATENT_CHUNK) == [3, 2, 2, 2, 2, 2]
    assert schedule(49, FRAME_CHUNK) == [9, 8, 8, 8, 8, 8]
    assert schedule(1, LATENT_CHUNK) == [1]
    assert schedule(5, FRAME_CHUNK) == [5]


@torch.no_grad()
def test_no_frame_depends_on_a_later_chunk(pair):
    _, ours = pair
    pixels = torch.randn(1, 3, 17, 16, 16)
    changed = pixels.clone()
    changed[:, :, 9:] += 1
    before, after = ours.encode(pixels)[0], ours.encode(changed)[0]
    assert torch.equal(before[:, :, :3], after[:, :, :3])
    assert not torch.allclose(before[:, :, 3:], after[:, :, 3:])


def test_gradients_reach_every_weight_and_the_input(pair):
    _, ours = pair
    ours.zero_grad()
    pixels = torch.randn(1, 3, 9, 16, 16, requires_grad=True)
    mean, logvar = ours.encode(pixels)
    (ours.decode(mean).square().mean() + logvar.square().mean()).backward()
    assert pixels.grad is not None and pixels.grad.any()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in ours.parameters())


def test_frames_survive_the_way_to_pixels_and_back():
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 8, 32, 1).expand(1, 2, 8, 32, 3)
    pixels = to_pixels(frames)
    assert pixels.shape == (1, 3, 2, 8, 32)
    assert (pixels.min(), pixels.max()) == (-1, 1)
    assert torch.equal(to_frames(pixels), frames)
    assert to_frames(torch.full((1, 3, 1, 1, 1), 1.7)).flatten().tolist() == [255, 255, 255]


@torch.no_grad()
def test_decoding_goes_on_from_what_an_earlier_call_left(pair):
    _, ours = pair
    latents = torch.randn(1, 4, 9, 3, 4)
    past = {}
    parts = [ours.decode(part, past) for part in latents.split([3, 2, 4], dim=2)]
    assert torch.equal(torch.cat(parts, dim=2), ours.decode(latents))
