import torch

from piying.config import VAEConfig
from piying.models import initial
from piying.models.vae import to_pixels
from piying.theatre.stage import render
from piying.train.nano import pool
from piying.train.seeds import training_scene

SIZE = (16, 32)
SCENES = [training_scene(0, i) for i in range(20)]
CPU = torch.device("cpu")


def test_latents_grow_as_asked_and_are_taken_from_their_files_the_next_time(tmp_path, monkeypatch):
    vae = initial.vae(VAEConfig(channels=(8, 8, 8, 8), blocks=1, groups=8), 0)
    monkeypatch.setattr(pool, "FILE", 2)

    def open_pool():
        latents = pool.Latents(SCENES[:5], SIZE, tmp_path)
        latents.encode_with(vae, 2.0, 17, CPU)
        return latents

    first = open_pool()
    assert first.grow(3)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["000000.safetensors", "000002.safetensors"]
    again = open_pool()
    assert again.grow(5)
    assert torch.equal(again.clips[:3], first.clips[:3])
    pixels = to_pixels(render(SCENES[4:5], size=SIZE).frames[:, :17])
    with torch.no_grad():
        clip, image = (2.0 * vae.encode(window)[0].transpose(1, 2) for window in (pixels, pixels[:, :, -1:]))
    torch.testing.assert_close(again.clips[4].float(), clip[0], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(again.images[4, 1].float(), image[0, 0], rtol=1e-2, atol=1e-2)
