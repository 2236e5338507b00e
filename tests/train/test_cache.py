"""Latents and text states under what they were made of."""

from dataclasses import replace

import pytest
import torch
from toys import toy, toy_checkpoint

from piying.config import NANO
from piying.data import dataset as datasets
from piying.errors import PiyingError
from piying.models.vae import to_pixels
from piying.train.tune.cache import FOLDER, LatentCache, TextCache, mark_of
from piying.video import read_frames
from piying.weights import safe

CPU = torch.device("cpu")


@pytest.fixture
def model():
    return toy_checkpoint(NANO)


def cache(folder, model, mark="one", precision="float32", told=None):
    asked = []

    def vae():
        asked.append(True)
        return model.vae

    said = [] if told is None else told
    return LatentCache(datasets.read(folder), mark, precision, toy(NANO).fps, vae, None, said.append), asked


def test_moments_are_what_the_autoencoder_says_of_the_clip_and_of_its_ends(dataset, model):
    latents, _ = cache(dataset, model)
    clip = latents.dataset.clips[0]
    latents.fill([clip], CPU)
    found = latents.read(clip)
    pixels = to_pixels(torch.from_numpy(read_frames(dataset / clip.media))[None])
    with torch.no_grad():
        mean, logvar = (x[0].transpose(0, 1) for x in model.vae.encode(pixels))
        last = model.vae.encode(pixels[:, :, -1:])[0][0, :, 0]
    torch.testing.assert_close(found.mean.float(), mean, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(found.logvar.float(), logvar, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(found.ends_mean[1].float(), last, rtol=2e-3, atol=2e-3)


def test_what_is_there_is_not_made_again_and_an_image_is_a_clip_of_one_frame(dataset, model):
    latents, asked = cache(dataset, model)
    latents.fill(latents.dataset.clips, CPU)
    assert len(asked) == 9
    assert latents.read(latents.dataset.clips[-1]).mean.shape == (1, 16, 4, 6)
    again, asked = cache(dataset, model)
    again.fill(again.dataset.clips, CPU)
    assert not asked


@pytest.mark.parametrize("other", [{"mark": "two"}, {"precision": "bfloat16"}], ids=["autoencoder", "precision"])
def test_latents_of_another_autoencoder_are_not_read_and_that_is_said(dataset, model, other):
    first, _ = cache(dataset, model)
    first.fill(first.dataset.clips[:1], CPU)
    told = []
    second, asked = cache(dataset, model, told=told, **other)
    second.fill(second.dataset.clips[:1], CPU)
    assert asked and "clip-0: its latents in" in told[0] and "another autoencoder's" in told[0]
    assert safe.metadata(second.path(second.dataset.clips[0]))["vae"] == other.get("mark", "one")


def test_a_clip_whose_media_size_or_length_changed_has_other_latents(dataset, model):
    latents, _ = cache(dataset, model)
    clip = latents.dataset.clips[0]
    others = [replace(clip, sha256="0"), replace(clip, size=(16, 48)), replace(clip, frames=1)]
    assert len({latents.path(one) for one in (clip, *others)}) == 4
    assert latents.path(replace(clip, captions=("a",), episode="x")) == latents.path(clip)


def test_a_file_that_was_cut_off_is_made_anew(dataset, model):
    latents, _ = cache(dataset, model)
    clip = latents.dataset.clips[0]
    latents.fill([clip], CPU)
    path = latents.path(clip)
    path.write_bytes(path.read_bytes()[:100])
    latents.fill([clip], CPU)
    assert latents.read(clip).mean.isfinite().all()


def test_a_clip_that_is_shorter_than_promised_or_broken_is_named_and_the_rest_goes_on(dataset, model):
    told = []
    latents, _ = cache(dataset, model, told=told)
    first, second, third = latents.dataset.clips[:3]
    (dataset / second.media).write_bytes((dataset / second.media).read_bytes()[:200])
    latents.fill([replace(first, frames=17), second, third], CPU)
    assert "clip-0: left out, " in told[0] and "0.mp4: holds 9 frames at 8 a second, 17 were promised" in told[0]
    assert "clip-1: left out, " in told[1] and "1.mp4: holds no video" in told[1]
    assert [latents.holds(clip) for clip in (replace(first, frames=17), second, third)] == [False, False, True]


def test_a_full_disk_is_one_line_and_leaves_nothing(dataset, model, monkeypatch):
    latents, _ = cache(dataset, model)

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(PiyingError, match="No space left on device"):
        latents.fill(latents.dataset.clips[:1], CPU)
    assert not list((dataset / FOLDER).iterdir())


def test_texts_are_encoded_once_by_what_the_tokenizer_makes_of_them(dataset, model):
    asked = []

    def encoder():
        asked.append(True)
        return model.text

    def states(mark, precision="float32"):
        made = TextCache(dataset, mark, precision, model.tokenizer, 8, encoder, str)
        return made.states(["a boat", "", "a boat"], CPU)

    found = states("one")
    assert len(asked) == 2 and list(found) == ["a boat", ""]
    with torch.no_grad():
        torch.testing.assert_close(found["a boat"], model.text(model.tokenizer(["a boat"], 8))[0])
    states("one")
    assert len(asked) == 2
    states("two")
    assert len(asked) == 4
    states("two", "bfloat16")
    assert len(asked) == 6


def test_a_mark_is_that_of_the_stored_values(tiny_model_folder, tmp_path):
    stored = safe.locate(tiny_model_folder / "vae", "diffusion_pytorch_model")
    name = next(iter(stored))
    changed = stored[name].read().clone()
    changed.view(-1)[0] += 1
    safe.write_file({name: changed}, tmp_path / "one.safetensors", {})
    assert mark_of(stored) == mark_of(dict(reversed(stored.items())))
    assert mark_of(stored) != mark_of({**stored, name: safe.contents(tmp_path / "one.safetensors")[name]})
