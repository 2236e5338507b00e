from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import SIZE, toy_checkpoint

from piying import latents
from piying.config import COGVIDEOX_15_5B, NANO
from piying.errors import UsageError
from piying.generate import Model
from piying.models.vae import to_pixels
from piying.request import Request
from piying.video import Video, read_frames


@pytest.fixture
def film(tmp_path):
    squares = np.random.default_rng(1).integers(0, 256, (20, 4, 6, 3), dtype=np.uint8)
    return lambda fps: Video(squares.repeat(8, axis=1).repeat(8, axis=2), fps).save(tmp_path / "clip.mp4")


def test_a_video_made_anew_fills_patches_with_its_first_latent_frame(film):
    """As 1.5 is padded while it learns; 17 frames are 5 latent ones, and patches take two."""
    model = Model(toy_checkpoint(COGVIDEOX_15_5B), "toy")
    path = film(16)
    request = model.resolve(Request(prompt="a red boat", video=path, seed=1))
    padding, shape = latents.shape(model.checkpoint.config, request)
    assert (request.frames, padding, shape) == (17, 1, (6, 16, 4, 6))
    begun = latents.video(model.place, [request], [torch.Generator().manual_seed(1)], padding)
    mean, logvar = model.checkpoint.vae.encode(to_pixels(torch.tensor(read_frames(path)[None, :17])))
    drawn = mean + torch.exp(0.5 * logvar) * torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(begun[0, 1:], 0.7 * drawn[0].transpose(0, 1))
    assert torch.equal(begun[0, 0], begun[0, 1])
    assert len(model.make(request)[0].frames) == 17


def test_frames_of_a_video_that_are_left_out_are_told(film):
    checkpoint, told = toy_checkpoint(NANO), []
    model = Model(replace(checkpoint, config=replace(checkpoint.config, frames=49)), "toy", say=told.append)
    request = model.resolve(Request(prompt="a red boat", video=film(8)))
    assert request.frames == 17
    assert told == [f"{request.video}: of 20 frames the first 17 are made anew"]


def test_given_pixels_count_in_what_encoding_may_take(monkeypatch):
    model = Model(toy_checkpoint(NANO), "toy")
    vae, limits = model.checkpoint.vae, []
    encode = type(vae).encode

    def limited(self, pixels, *, limit):
        limits.append((limit, pixels.nbytes))
        return encode(self, pixels)

    monkeypatch.setattr(type(vae), "encode", limited)
    monkeypatch.setattr(type(model.place), "vae_limit", 10**9)
    latents.encode(model.place, np.zeros((9, *SIZE, 3), np.uint8), torch.Generator())
    assert limits == [(10**9 - 9 * 32 * 48 * 3 * 4, 9 * 32 * 48 * 3 * 4)]


def test_a_video_decides_how_many_frames_it_is_made_of(film):
    model = Model(toy_checkpoint(NANO), "toy")
    video = model.generate("a red boat", video=film(8), steps=2)
    assert video.frames.shape == (9, *SIZE, 3)  # as many as the model makes
    with pytest.raises(UsageError, match=r"clip.mp4: 7 frames at 8 a second; use 9 or more"):
        model.generate("a red boat", video=film(24), steps=2)
    with pytest.raises(UsageError, match=r"frames=9: .*clip.mp4 holds 7, ask for fewer"):
        model.generate("a red boat", video=film(24), frames=9, steps=2)
