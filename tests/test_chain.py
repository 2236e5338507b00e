"""Clips that go on from each other, with models of random weights."""

import gc
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from toys import SIZE, toy_checkpoint

from piying.chain import match
from piying.config import COGVIDEOX_2B, COGVIDEOX_5B_I2V, COGVIDEOX_15_5B, COGVIDEOX_15_5B_I2V, NANO
from piying.errors import PiyingError, UsageError
from piying.generate import Model
from piying.latents import decode
from piying.models.vae import to_pixels
from piying.request import Request
from piying.video import Video, read_frames

NOISE = np.random.default_rng(0)


def model_of(member):
    return Model(toy_checkpoint(member), "toy")


@pytest.fixture
def image(tmp_path):
    Image.fromarray(NOISE.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(tmp_path / "first.png")
    return tmp_path / "first.png"


def film(path, frames, fps=8, size=SIZE):
    """A file of coloured squares, and its frames as they are read."""
    squares = NOISE.integers(0, 256, (frames, size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    Video(squares.repeat(8, axis=1).repeat(8, axis=2), fps).save(path)
    return read_frames(path)


def last_steps(model, **values):
    """The last step of each clip."""
    return [step for step in model.stream(Request(prompt="a red boat", steps=2, **values)) if step.step == step.steps]


@pytest.mark.parametrize("member", [NANO, COGVIDEOX_2B, COGVIDEOX_15_5B], ids=lambda member: member.name)
def test_latents_are_carried_over_and_decoded_as_one(member):
    """33 frames are 9 latent ones, of which a clip shares 3 with the one before: the decoder never sees a join."""
    model = model_of(member)
    first, second = last_steps(model, seed=1, frames=33, clips=2)
    known = second.beginnings[0].known
    assert torch.equal(known[1:], first.latents[0, -2:])
    whole = decode(model.place, torch.cat([first.latents[0], second.latents[0, 3:]]))
    assert np.array_equal(first.videos()[0].frames, whole[:33])
    assert np.array_equal(second.videos()[0].frames, whole[33:])


def test_a_model_with_condition_channels_is_given_the_beginning_there():
    model, seen = model_of(NANO), []
    model.checkpoint.transformer.patch_embed.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    _, second = last_steps(model, seed=1, frames=33, clips=2)
    generator = torch.Generator().manual_seed(2)  # the second clip's
    torch.randn(1, 16, 1, 4, 6, generator=generator)  # drawn when the first shared frame was encoded
    noise = torch.randn(9, 16, 4, 6, generator=generator)
    for row in seen[-2]:
        torch.testing.assert_close(row[:, :16], noise)
        torch.testing.assert_close(row[:3, 16:], second.beginnings[0].known)
        assert (row[3:, 16:] == 0).all()


@pytest.mark.parametrize("member", [COGVIDEOX_2B, COGVIDEOX_15_5B], ids=lambda member: member.name)
def test_a_model_of_text_alone_keeps_the_beginning_while_it_denoises(member):
    _, second = last_steps(model_of(member), seed=1, frames=33, clips=2, sampler="ddim")
    torch.testing.assert_close(second.latents[0, :3], second.beginnings[0].known)


@pytest.mark.parametrize("member", [COGVIDEOX_5B_I2V, COGVIDEOX_15_5B_I2V], ids=lambda member: member.name)
def test_an_image_model_goes_on_from_the_last_frame(member, image, tmp_path):
    """As if that frame had been given as the image, with the next seed."""
    model = model_of(member)
    first, second = last_steps(model, seed=1, image=image, clips=2)
    Image.fromarray(first.videos()[0].frames[-1]).save(tmp_path / "last.png")
    (alone,) = last_steps(model, seed=2, image=tmp_path / "last.png")
    torch.testing.assert_close(second.latents, alone.latents, rtol=1e-4, atol=1e-4)
    assert len(second.videos()[0].frames) == second.requests[0].frames - 1


def test_a_given_video_comes_first_and_what_follows_takes_its_colours(tmp_path):
    model = model_of(NANO)
    given = film(tmp_path / "clip.mp4", 20)
    video = model.generate("a red boat", continues=tmp_path / "clip.mp4", frames=33, steps=2, seed=1)
    assert np.array_equal(video.frames[:20], given)
    (step,) = last_steps(model, continues=tmp_path / "clip.mp4", frames=33, seed=1)
    begun = step.beginnings[0]
    mean, logvar = model.checkpoint.vae.encode(to_pixels(torch.tensor(given[-9:])[None]))
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(begun.known, 0.7 * (mean + torch.exp(0.5 * logvar) * noise)[0].transpose(0, 1))
    redrawn = begun.colours.of(decode(model.place, begun.known)).astype(float)
    assert np.abs(redrawn.mean((0, 1, 2)) - given[-9:].mean((0, 1, 2))).max() < 3
    assert len(video.frames) == 20 + 24
    shown = begun.colours.of(decode(model.place, step.latents[0, 3:], dict(begun.past)))
    assert np.array_equal(video.frames[20:], shown)
    _, later = last_steps(model, continues=tmp_path / "clip.mp4", frames=33, seed=1, clips=2)
    assert np.array_equal(later.beginnings[0].colours, begun.colours)


def test_a_short_video_of_another_size_and_pace_is_continued(tmp_path):
    film(tmp_path / "clip.mp4", 12, fps=24, size=(64, 64))
    video = model_of(NANO).generate("a red boat", continues=tmp_path / "clip.mp4", frames=33, steps=1)
    assert video.frames.shape == (4 + 32, *SIZE, 3)  # half a second is four frames, of which the last is taken up


def test_clips_of_several_videos_are_those_made_alone(tmp_path):
    model = model_of(COGVIDEOX_2B)
    film(tmp_path / "a.mp4", 9)
    film(tmp_path / "b.mp4", 5)
    requests = [
        Request(prompt="fog", seed=seed, continues=tmp_path / name, clips=2, steps=2, frames=33)
        for seed, name in ((3, "a.mp4"), (9, "b.mp4"))
    ]
    for together, request in zip(model.make(*requests), requests, strict=True):
        alone = model.make(request)[0].frames
        assert together.frames.shape == alone.shape
        assert np.abs(together.frames.astype(int) - alone).max() <= 3  # a rounding, carried on


@pytest.mark.parametrize(("seconds", "clips"), [(0.01, 1), (2, 1), (5, 2), (7.125, 2), (7.25, 3)])
def test_seconds_are_filled_with_clips_and_the_rest_is_cut(seconds, clips):
    video = model_of(NANO).generate("a red boat", frames=33, seconds=seconds, steps=1)
    assert len(video.frames) == max(round(8 * seconds), 1)
    assert video.request.clips == clips


def test_a_chain_is_made_again_from_its_request():
    model = model_of(NANO)
    video = model.generate("a red boat", clips=3, steps=1)
    assert len(video.frames) == 9 + 8 + 8
    assert np.array_equal(model.make(video.request)[0].frames, video.frames)


def test_no_clip_is_kept_once_the_next_has_begun():
    alive = []
    for step in model_of(NANO).stream(Request(prompt="a red boat", clips=4, steps=1)):
        alive.append(weakref.ref(step.decoded[0][0]))
    del step
    gc.collect()
    assert [frames() is None for frames in alive[:2]] == [True, True]


def test_a_dark_clip_within_a_chain_is_told_and_kept(tmp_path, monkeypatch):
    said = []
    model = Model(toy_checkpoint(NANO), "toy", say=said.append)
    steps = last_steps(model, seed=1, frames=33, clips=3)
    dark = steps[1].decoded[0][0]
    dark[:] = 0
    assert [len(step.videos()[0].frames) for step in steps] == [33, 24, 24]
    assert said == ["clip 2 is black; another seed may show more"]
    steps[0].decoded[0][0][:] = 0
    with pytest.raises(PiyingError, match="the video is black"):
        steps[0].videos()


def test_nothing_is_remembered_of_the_last_clip(tmp_path):
    film(tmp_path / "clip.mp4", 20)
    (step,) = last_steps(model_of(NANO), continues=tmp_path / "clip.mp4", frames=33, seed=1)
    before = {part: seen.clone() for part, seen in step.beginnings[0].past.items()}
    ((_, past),) = step.decoded
    assert past == {} and all(torch.equal(step.beginnings[0].past[part], seen) for part, seen in before.items())


def test_what_the_decoder_remembers_is_left_to_it_where_it_lies(monkeypatch):
    """At 480x720 it is 2.6 GiB, which the decoder takes to the card layer by layer."""
    model, seen = model_of(NANO), []

    def decoded(latents, past, limit):
        seen.extend(part.device.type for part in past.values())
        past["other"] = torch.ones(1)
        return torch.zeros(1, 3, 1, *SIZE)

    model.checkpoint.transformer.proj_out.to("meta")  # a card apart from the CPU
    monkeypatch.setattr(model.checkpoint.vae, "decode", decoded)
    past = {"layer": torch.ones(1)}
    decode(model.place, torch.zeros(1, 16, 4, 6), past)
    assert seen == ["cpu"]
    assert list(past) == ["layer", "other"]


def test_colours_are_matched_by_mean_and_deviation():
    frames = NOISE.integers(60, 180, (3, *SIZE, 3), dtype=np.uint8)
    like = (frames * 0.7 + np.array([10, 40, 0])).round().astype(np.uint8)
    matched = match(frames, like)
    np.testing.assert_allclose(matched.gain, 0.7, atol=0.01)
    assert np.abs(matched.of(frames).astype(int) - like).max() <= 1


def test_flat_colours_are_moved_and_not_stretched():
    flat = np.full((1, *SIZE, 3), 100, np.uint8)
    assert (match(flat, flat + 20).of(flat + 1) == 121).all()


def test_what_cannot_be_chained_is_refused(tmp_path, image):
    film(tmp_path / "clip.mp4", 9)
    model = model_of(NANO)
    for values, line in (
        ({"frames": 1, "clips": 2}, "frames=1: too few to go on from, use e.g. 9"),
        ({"video": tmp_path / "clip.mp4", "clips": 2}, "video=.*: is made anew as one clip"),
        ({"image": image, "last_image": image, "seconds": 9}, "last_image=.*: is the end of one clip"),
        ({"clips": 2, "seconds": 9}, r"clips=2, seconds=9.0: give one of the two"),
    ):
        with pytest.raises(UsageError, match=line):
            model.stream(Request(prompt="a red boat", **values))
