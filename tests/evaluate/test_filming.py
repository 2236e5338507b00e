"""How many videos are made at a time."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from piying.config import COGVIDEOX_2B, NANO
from piying.evaluate import footage
from piying.request import Request
from piying.video import Video


@pytest.mark.parametrize(
    ("config", "device", "batches"),
    [(NANO, "cuda", [16, 2]), (NANO, "cpu", [1] * 18), (NANO, "mps", [1] * 18), (COGVIDEOX_2B, "cuda", [1] * 18)],
)
def test_only_small_videos_are_made_together_and_only_on_a_gpu(config, device, batches, tmp_path):
    made = []

    def make(*requests):
        made.append(len(requests))
        return [Video(np.zeros((1, 16, 16, 3), np.uint8), 8) for _ in requests]

    weight = SimpleNamespace(weight=SimpleNamespace(device=torch.device(device)))
    checkpoint = SimpleNamespace(config=config, transformer=SimpleNamespace(proj_out=weight))
    model = SimpleNamespace(checkpoint=checkpoint, make=make)
    requests = {i: Request(prompt="a cat") for i in range(18)}
    footage.film(model, requests, tmp_path, footage.Deadline(None), lambda line: None)
    assert made == batches and len(footage.filmed(tmp_path)) == 18
