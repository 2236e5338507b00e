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


def test_a_video_decides_how_many_frames_it_is_made_of(film):
    model = Model(toy_checkpoint(NANO), "toy")
    for fps, frames in ((8, 9), (24, 1)):  # as many as the model makes, or what there is
        video = model.generate("a red boat", video=film(fps), steps=2)
        assert video.frames.shape == (frames, *SIZE, 3)
    with pytest.raises(UsageError, match=r"frames=9: .*clip.mp4 holds 7, ask for fewer"):
        model.generate("a red boat", video=film(24), frames=9, steps=2)
