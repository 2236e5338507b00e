from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from toys import SIZE, toy_checkpoint

from piying.config import COGVIDEOX_5B_I2V, NANO
from piying.errors import OutOfMemory, PiyingError, UsageError
from piying.generate import Model
from piying.models.vae import to_pixels
from piying.request import Request
from piying.video import read_image


@pytest.fixture
def model():
    return Model(toy_checkpoint(NANO), "nano")


@pytest.fixture
def images(tmp_path):
    """Two image files of the size of the video."""
    paths = tmp_path / "first.png", tmp_path / "last.png"
    for seed, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(path)
    return paths


def test_a_fast_video_multiplies_in_eight_bits_where_the_card_does(model, monkeypatch):
    products, steps = model.checkpoint.transformer.transformer_blocks[0].ff.net[2], 4  # all of them asked
    exact, seen = model.generate("a red boat", seed=7, steps=steps).frames, []
    products.register_forward_pre_hook(lambda layer, _: seen.append(layer.narrow))
    plain = model.generate("a red boat", seed=7, steps=steps, speed="fast").frames
    assert np.array_equal(plain, exact) and seen == [False] * steps
    monkeypatch.setattr("piying.ops.multiplies_narrow", lambda device: True)
    narrow = model.generate("a red boat", seed=7, steps=steps, speed="fast").frames
    assert not np.array_equal(narrow, exact) and seen[steps:] == [True] * steps
    again = model.generate("a red boat", seed=7, steps=steps).frames
    assert np.array_equal(again, exact)


def test_a_request_for_other_weights_than_are_loaded_is_refused(model):
    assert model.resolve(Request(prompt="a red boat")).weights == "full"
    with pytest.raises(UsageError, match=r"weights=int8: nano is loaded with full ones; load it anew"):
        model.resolve(Request(prompt="a red boat", weights="int8"))


def inputs_of(model):
    """A list that fills with the latents that the transformer is given."""
    seen = []
    model.checkpoint.transformer.patch_embed.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    return seen


def test_one_seed_gives_one_video_and_another_seed_another(model):
    first, again, other = (model.generate("a red boat", seed=seed, steps=2) for seed in (7, 7, 8))
    assert first.frames.shape == (9, *SIZE, 3) and first.frames.dtype == np.uint8
    assert np.array_equal(first.frames, again.frames)
    assert not np.array_equal(first.frames, other.frames)
    assert first.fps == 8


def test_the_request_of_a_video_makes_it_again(model):
    video = model.generate("a red boat", steps=2)
    assert video.request.model == "nano"
    again = model.make(video.request)[0]
    assert again.request == video.request
    assert np.array_equal(again.frames, video.frames)


def test_steps_are_told_one_by_one_and_each_can_be_seen(model):
    seen = []
    video = model.generate(
        "a red boat", seed=1, steps=3, on_step=lambda step: seen.append((step.step, step.steps, step.preview()))
    )
    assert [(step, steps) for step, steps, _ in seen] == [(1, 3), (2, 3), (3, 3)]
    assert all(picture.shape == (*SIZE, 3) and picture.dtype == np.uint8 for *_, picture in seen)
    assert not np.array_equal(seen[0][2], seen[2][2])
    assert set(video.timings) == {"load", "text", "condition", "denoise", "decode"}
    assert video.timings["denoise"] > 0 and video.timings["decode"] > 0


def test_a_stream_can_be_stopped_early_and_still_holds_a_video(model):
    progress = next(model.stream(Request(prompt="a red boat", steps=50)))
    assert (progress.step, progress.steps) == (1, 50)
    assert progress.videos()[0].frames.shape == (9, *SIZE, 3)


def test_bad_requests_are_refused_before_the_stream_starts(model):
    with pytest.raises(UsageError, match="frames=50: use 8n"):
        model.stream(Request(prompt="a red boat", frames=50))
    with pytest.raises(UsageError, match=r"steps in \[2, 3\]: requests that are made together share one value"):
        model.stream(Request(prompt="a red boat", steps=2), Request(prompt="a red boat", steps=3))


def test_videos_made_together_are_those_made_alone(model, images):
    requests = [
        Request(prompt="a red boat", seed=1, steps=3),
        Request(prompt="fog", negative="a boat", image=images[0], seed=2, steps=3),
    ]
    together = model.make(*requests)
    for video, request in zip(together, requests, strict=True):
        alone = model.make(request)[0]
        assert video.request == alone.request
        assert np.abs(video.frames.astype(int) - alone.frames).max() <= 1


def test_text_alone_is_told_by_zeros_on_the_condition_channels(model):
    seen = inputs_of(model)
    model.generate("a red boat", steps=1)
    assert seen[0].shape == (2, 3, 32, SIZE[0] // 8, SIZE[1] // 8)
    assert seen[0][:, :, :16].std() > 0.9
    assert (seen[0][:, :, 16:] == 0).all()


def test_images_stand_on_the_condition_channels_of_their_frames(model, images):
    seen = inputs_of(model)
    model.generate("a red boat", image=images[0], last_image=images[1], seed=5, steps=1)
    condition = seen[0][:, :, 16:]
    assert (condition[:, 1:-1] == 0).all()
    generator = torch.Generator().manual_seed(5)
    for place, path in ((0, images[0]), (-1, images[1])):
        mean, logvar = model.checkpoint.vae.encode(to_pixels(torch.tensor(read_image(path))[None, None]))
        latent = 0.7 * (mean + torch.exp(0.5 * logvar) * torch.randn(mean.shape, generator=generator))
        for row in condition:
            torch.testing.assert_close(row[place], latent[0, :, 0])


def test_without_guidance_the_model_runs_once_a_step(model):
    seen = inputs_of(model)
    model.generate("a red boat", guidance=1.0, steps=1)
    assert seen[0].shape[0] == 1


def test_the_prompt_and_the_negative_prompt_both_count(model):
    plain = model.generate("a red boat", seed=1, steps=2).frames
    assert not np.array_equal(plain, model.generate("a boat", seed=1, steps=2).frames)
    assert not np.array_equal(plain, model.generate("a red boat", negative="fog", seed=1, steps=2).frames)


def test_a_model_that_starts_from_an_image_asks_for_one():
    model = Model(toy_checkpoint(COGVIDEOX_5B_I2V), "toy")
    with pytest.raises(UsageError, match="image=None: cogvideox-5b-i2v starts from an image"):
        model.generate("a red boat")


def test_an_overflow_is_told_with_its_likely_cause(model):
    model.checkpoint.transformer.proj_out.weight.fill_(float("inf"))
    with pytest.raises(PiyingError, match="step 1 of 2 overflowed: the weights are damaged"):
        model.generate("a red boat", steps=2)


def test_a_video_of_one_colour_is_told(model):
    model.checkpoint.vae.decoder.conv_out.conv.weight.zero_()
    model.checkpoint.vae.decoder.conv_out.conv.bias.zero_()
    with pytest.raises(PiyingError, match="one flat colour"):
        model.generate("a red boat", steps=1)


def test_a_video_that_does_not_fit_into_memory_is_told(model):
    with pytest.raises(OutOfMemory, match="9 frames of 16000000x16000000 do not fit into memory"):
        model.generate("a red boat", size=(16_000_000, 16_000_000))


def test_what_is_not_read_is_told(model):
    told: list[str] = []
    model = replace(model, say=told.append)
    model.generate("a red boat", negative="red", guidance=1, steps=1)
    model.generate("一只猫", steps=1)
    assert told == [
        "negative: nothing leads away from it with guidance=1; use more than 1",
        f"{model.checkpoint.config.name} cannot read Chinese (一只猫): write English,"
        " or translate with --enhance and --enhancer or PIYING_ENDPOINT",
    ]


def test_one_blank_video_of_two_is_told_and_the_other_kept(model, monkeypatch):
    told: list[str] = []
    model = replace(model, say=told.append)
    monkeypatch.setattr("piying.progress.blank", lambda frames: next(found))
    found = iter(["black", None])
    first, second = model.make(*(Request(prompt="a red boat", seed=seed, steps=1) for seed in (1, 2)))
    assert told == ["seed 1 is black; another seed may show more"] and len(second.frames) == len(first.frames)
    found = iter(["black", "black"])
    with pytest.raises(PiyingError, match="the video is"):
        model.make(*(Request(prompt="a red boat", seed=seed, steps=1) for seed in (1, 2)))
