import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from toys import SIZE, toy_checkpoint

from piying.checks import blank, nothing_seen
from piying.config import COGVIDEOX_5B, NANO
from piying.errors import PiyingError, UsageError
from piying.generate import Model, load
from piying.weights import save

NOISE = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 3), dtype=np.uint8)


@pytest.fixture
def model():
    return Model(toy_checkpoint(NANO), "nano")


@pytest.mark.parametrize(
    ("broken", "stage"),
    [
        (lambda parts: parts.text.embedding.weight, "the text encoder"),
        (lambda parts: parts.vae.encoder.conv_out.conv.bias, "the encoding of the given frames"),
        (lambda parts: parts.transformer.proj_out.bias, "step 1 of 2"),
        (lambda parts: parts.vae.decoder.conv_out.conv.bias, "decoding"),
    ],
)
def test_an_overflow_names_its_stage_and_its_likely_cause(model, tmp_path, broken, stage):
    Image.fromarray(NOISE[0]).save(tmp_path / "first.png")
    broken(model.checkpoint).fill_(float("nan"))
    with pytest.raises(PiyingError, match=f"^{stage} overflowed: the weights are damaged"):
        model.generate("a red boat", image=tmp_path / "first.png", steps=2)


def test_a_guidance_beyond_reason_is_named_as_the_cause(model):
    with pytest.raises(PiyingError, match=r"overflowed: guidance=1e\+38 is too strong, use e.g. 3"):
        model.generate("a red boat", steps=3, guidance=1e38)


@pytest.mark.parametrize(
    ("frames", "line"),
    [
        (np.zeros_like(NOISE), "the video is black"),
        (NOISE // 17, "the video is black"),
        (np.full_like(NOISE, 90), "the video is one flat colour"),
        (90 + NOISE // 86, "the video is one flat colour"),  # three neighbouring values: a deviation of 0.8
        (np.stack([np.full_like(NOISE[0], level) for level in (20, 90, 200)]), "the video is one flat colour"),
        (NOISE // 14, None),
        (90 + NOISE // 50, None),
        (np.concatenate([np.zeros_like(NOISE), NOISE[:1]]), None),
    ],
    ids=["black", "nearly black", "flat", "nearly flat", "flat and changing", "dark", "pale", "a late picture"],
)
def test_a_video_that_shows_nothing_is_told(model, frames, line):
    colour = blank(frames.astype(np.uint8))
    assert line == (colour and str(nothing_seen(colour, model.checkpoint)).partition(":")[0])


def test_float16_is_refused_for_a_model_of_bfloat16_before_it_loads(tmp_path):
    from dataclasses import replace

    toy = toy_checkpoint(COGVIDEOX_5B)
    save(replace(toy, config=replace(toy.config, precision="bfloat16")), tmp_path / "model", torch.bfloat16)
    for weights in (tmp_path / "model").rglob("*.safetensors"):  # which loading would refuse
        save_file({name: tensor * torch.nan for name, tensor in load_file(weights).items()}, weights)
    with pytest.raises(UsageError, match=r"dtype=float16: .* overflows in it and gives black videos; use bfloat16"):
        load(tmp_path / "model", device="cpu", dtype=torch.float16)
