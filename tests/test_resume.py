"""A generation that stopped anywhere goes on and ends with the same bytes."""

import numpy as np
import pytest
import torch
from toys import toy_checkpoint

from piying import resume
from piying.config import COGVIDEOX_2B, NANO
from piying.errors import PiyingError, UsageError
from piying.generate import Model
from piying.request import Request
from piying.sampling.reuse import asked


@pytest.fixture
def model():
    return Model(toy_checkpoint(NANO), "nano")


def frames_of(steps):
    return np.concatenate([step.videos()[0].frames for step in steps if step.step == step.steps])


@pytest.mark.parametrize("member", [NANO, COGVIDEOX_2B], ids=lambda member: member.name)
@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
@pytest.mark.parametrize("stop", [1, 4, 6])
def test_a_chain_that_stopped_after_any_step_ends_the_same(tmp_path, member, sampler, stop):
    model = Model(toy_checkpoint(member), "toy")
    request = model.resolve(Request(prompt="a red boat", seed=3, steps=4, sampler=sampler, clips=2))
    whole = list(model.stream(request))
    for step, _ in zip(model.stream(request), range(stop), strict=False):
        step.save(tmp_path / "state")
    model.checkpoint.transformer.patch_embed.register_forward_pre_hook(lambda *_: ran.append(1))
    ran = []
    rest = list(model.stream(request, saved=tmp_path / "state"))
    assert len(ran) == 8 - stop
    assert np.array_equal(frames_of(rest), frames_of(whole))
    assert torch.equal(rest[-1].latents, whole[-1].latents)


@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
def test_a_fast_one_goes_on_with_what_it_foretells_from(tmp_path, model, sampler):
    request = model.resolve(Request(prompt="a red boat", seed=3, steps=14, sampler=sampler, speed="fast"))
    ran, predict = [], model.checkpoint.transformer.predict
    model.checkpoint.transformer.predict = lambda *given: ran.append(1) or predict(*given)
    states = []
    for step in model.stream(request):
        states.append(step)
        step.save(tmp_path / f"after-{step.step}")
    assert len(ran) == sum(asked(14)) < 14
    for stop in (1, 8, 9, 10, 13):
        rest = list(model.stream(request, saved=tmp_path / f"after-{stop}"))
        assert torch.equal(rest[-1].latents, states[-1].latents)


def test_videos_made_together_are_taken_up_together(tmp_path, model):
    requests = [model.resolve(Request(prompt="fog", seed=seed, steps=3)) for seed in (1, 2)]
    stream = model.stream(*requests)
    next(stream)
    next(stream).save(tmp_path / "state")
    whole = list(stream)[-1].latents
    assert torch.equal(list(model.stream(*requests, saved=tmp_path / "state"))[-1].latents, whole)


@pytest.fixture
def state(tmp_path, model):
    request = model.resolve(Request(prompt="a red boat", seed=3, steps=4))
    next(model.stream(request)).save(tmp_path / "state")
    return request, tmp_path / "state"


def test_the_request_is_kept_beside_the_state(state):
    request, folder = state
    assert resume.read_request(folder) == request
    assert [path.name for path in folder.iterdir()] == ["clip-00001.safetensors"]


def test_a_state_of_another_request_is_refused(state, model):
    _, folder = state
    with pytest.raises(UsageError, match="was saved for another request"):
        list(model.stream(Request(prompt="a red boat", seed=4, steps=4), saved=folder))


@pytest.mark.parametrize("part", ["transformer", "vae", "text"])
def test_a_state_of_other_weights_is_refused(state, model, part):
    request, folder = state
    next(getattr(model.checkpoint, part).parameters()).flatten()[0] += 1
    with pytest.raises(UsageError, match="was saved with other weights than nano holds now"):
        list(model.stream(request, saved=folder))


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_broken_state_is_told(state, model, keep):
    request, folder = state
    path = folder / "clip-00001.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(PiyingError, match=r"clip-00001.safetensors: not a saved generation \(.*\); remove it") as told:
        list(model.stream(request, saved=folder))
    assert "\n" not in str(told.value)


def test_a_folder_that_holds_no_state_is_told(tmp_path):
    with pytest.raises(UsageError, match="holds no saved generation"):
        resume.read_request(tmp_path)


def test_a_state_that_cannot_be_written_leaves_the_last_one(state, model, monkeypatch):
    request, folder = state
    before = (folder / "clip-00001.safetensors").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(PiyingError, match=r"cannot be written .*No space left"):
        next(model.stream(request)).save(folder)
    assert [path.read_bytes() for path in folder.iterdir()] == [before]


def test_only_what_was_saved_is_removed(state):
    _, folder = state
    (folder / ".clip-00002.safetensors.7.part").write_text("broken off")
    (folder / "notes.txt").write_text("mine")
    (folder / "clip-art.safetensors").write_text("mine")
    resume.remove(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["clip-art.safetensors", "notes.txt"]
    for path in folder.iterdir():
        path.unlink()
    resume.remove(folder)
    assert not folder.exists()
