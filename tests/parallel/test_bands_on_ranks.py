"""The autoencoder in bands of rows, as a GPU runs it, on several ranks."""

from functools import partial

import loads
import pytest
import torch
from toys import SIZE

from piying.models.vae import VAE
from piying.parallel.crew import Crew
from piying.parallel.shared import shared


@pytest.mark.parametrize("count", [2, 4])
def test_bands_hand_on_what_they_saw(model_folder, monkeypatch, count):
    monkeypatch.setattr(VAE, "_in_bands", lambda *_: True)
    crew = Crew([torch.device("cpu")] * count, partial(loads.in_bands, model_folder))
    own, together = crew.member.checkpoint.vae, shared(crew).vae
    latents, further = (torch.randn(1, 16, frames, 4, 6) for frames in (9, 6))
    pixels = torch.randn(1, 3, 33, *SIZE)
    past, expected = {}, {}
    with torch.inference_mode():
        assert torch.equal(together.decode(latents), own.decode(latents))
        assert torch.equal(together.decode(latents, past), own.decode(latents, expected))
        assert past.keys() == expected.keys()
        assert all(torch.equal(past[layer], expected[layer]) for layer in past)
        assert torch.equal(together.decode(further, past), own.decode(further, expected))
        for found, wanted in zip(together.encode(pixels), own.encode(pixels), strict=True):
            assert torch.equal(found, wanted)
    crew.close()
