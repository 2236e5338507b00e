"""Adapters in `generate`: on for their own videos alone, switched without reloading, kept in the request."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXPipeline
from toys import SIZE, toy_checkpoint

from piying import weights
from piying.adapters import attach, file, store
from piying.adapters.adapter import Adapter
from piying.adapters.formats import Naming
from piying.config import COGVIDEOX_2B, NANO
from piying.errors import ModelMissing, PiyingError, UsageError
from piying.files import digest
from piying.generate import Model, load
from piying.request import AdapterUse, Request


def random_adapter(transformer, seed: int, **values) -> Adapter:
    adapter = attach.create(transformer, rank=4, alpha=2, seed=seed, **values)
    fitted, dice = attach.fit(transformer, adapter), torch.Generator().manual_seed(seed)
    for parameter in fitted.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=dice)
    return fitted.adapter()


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A small model, and in the current folder the adapters one.safetensors and two.safetensors for it."""
    monkeypatch.setenv("PIYING_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    model = Model(toy_checkpoint(NANO), "nano")
    for seed, name in enumerate(("one", "two")):
        file.write(
            random_adapter(model.checkpoint.transformer, seed, dora=name == "two"), tmp_path / f"{name}.safetensors"
        )
    return model


def make(model, *adapters, prompt="a red boat", merged=False):
    return model.generate(prompt, seed=1, steps=2, adapters=adapters, adapters_merged=merged).frames


def test_each_video_has_its_own_adapters(model):
    plain = make(model)
    one, both = make(model, "one.safetensors"), make(model, "one.safetensors:0.5", "two.safetensors")
    assert not np.array_equal(plain, one) and not np.array_equal(one, both)
    assert np.array_equal(make(model), plain)
    assert np.array_equal(make(model, "one.safetensors"), one)
    other_order = make(model, "two.safetensors", "one.safetensors:0.5")
    assert np.abs(other_order.astype(int) - both).max() <= 1
    assert np.array_equal(make(model, "one.safetensors:0"), plain)


def test_merged_ones_make_the_same_video_and_leave_nothing(model):
    before = {name: tensor.clone() for name, tensor in model.checkpoint.transformer.state_dict().items()}
    plain = make(model)
    for adapters in (("one.safetensors",), ("one.safetensors:0.5", "two.safetensors"), ("two.safetensors",)):
        live, merged = make(model, *adapters), make(model, *adapters, merged=True)
        assert np.abs(live.astype(int) - merged).max() <= 1 and not np.array_equal(merged, plain)
    assert not torch.equal(
        model.checkpoint.transformer.state_dict()["transformer_blocks.0.attn1.to_q.weight"],
        before["transformer_blocks.0.attn1.to_q.weight"],
    )
    assert np.array_equal(make(model), plain)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.checkpoint.transformer.state_dict().items())


@pytest.mark.parametrize("merged", [False, True], ids=["live", "merged"])
def test_streams_that_take_turns_do_not_mix(model, merged):
    requests = [
        Request(prompt="a red boat", seed=1, steps=2, adapters=adapters, adapters_merged=merged)
        for adapters in (["one.safetensors"], [], ["two.safetensors"])
    ]
    alone = [model.make(request)[0].frames for request in requests]
    streams = [model.stream(request) for request in requests]
    for _ in range(2):
        states = [next(stream) for stream in streams]
    for state, frames in zip(states, alone, strict=True):
        assert np.array_equal(state.videos()[0].frames, frames)


def test_nothing_is_read_twice(model, monkeypatch):
    make(model, "one.safetensors")
    monkeypatch.setattr(file, "read", None)
    monkeypatch.setattr("piying.adapters.rack.fit", None)
    make(model)
    make(model, "one.safetensors:0.3")


def test_a_new_one_takes_the_place_of_those_that_are_off(model):
    for names in (["one.safetensors"], ["two.safetensors"], ["two.safetensors", "one.safetensors"], []):
        make(model, *names)
        held = {digest(Path(name)) for name in names or ["one.safetensors", "two.safetensors"]}
        assert model.rack._fitted.keys() == held
        assert model.rack.sizes([(sha256, 1.0) for sha256 in held]) == (model.rack.sizes([])[1],) * 2


def test_the_request_finds_its_adapter_again_or_refuses(model, tmp_path):
    video = model.generate("a red boat", seed=1, steps=2, adapters=["one.safetensors:0.8"])
    (use,) = video.request.adapters
    assert (use.source, use.weight, use.sha256) == ("one.safetensors", 0.8, digest(tmp_path / "one.safetensors"))
    assert np.array_equal(model.make(video.request)[0].frames, video.frames)
    (tmp_path / "one.safetensors").rename(tmp_path / "moved.safetensors")
    with pytest.raises(ModelMissing, match=r"adapter=one.safetensors: no such file"):
        model.make(video.request)
    (tmp_path / "two.safetensors").rename(tmp_path / "one.safetensors")
    with pytest.raises(UsageError, match="the file has changed since the request was made"):
        model.make(video.request)
    store.add(file.read(tmp_path / "moved.safetensors"), "by-another-name")
    again = model.make(video.request)[0]
    assert again.request == video.request and np.array_equal(again.frames, video.frames)


def test_aliases_reach_the_model_and_the_request_keeps_what_was_typed(model, tmp_path):
    one = file.read(tmp_path / "one.safetensors")
    file.write(replace(one, aliases={"小船": "boat", "red": "fog"}), tmp_path / "words.safetensors")
    expected = make(model, "one.safetensors", prompt="a fog boat")
    video = model.generate("a red 小船", seed=1, steps=2, adapters=["words.safetensors"])
    assert np.array_equal(video.frames, expected) and video.request.prompt == "a red 小船"
    file.write(replace(one, aliases={"red": "boat"}), tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match=r"adapter=other.safetensors: red is boat here and fog in another adapter"):
        make(model, "words.safetensors", "other.safetensors")


def test_one_that_listens_only_to_names_is_left_out_where_none_is_said(model, tmp_path):
    one = file.read(tmp_path / "one.safetensors")
    named = replace(one, triggers=("DaWa",), aliases={"大娃": "DaWa"}, only_named=True)
    file.write(named, tmp_path / "named.safetensors")
    plain, called = make(model), make(model, "one.safetensors", prompt="a red DaWa")
    assert np.array_equal(make(model, "named.safetensors"), plain)
    assert np.array_equal(make(model, "named.safetensors", merged=True), plain)
    assert np.array_equal(make(model, "named.safetensors:1"), make(model, "one.safetensors"))
    for prompt in ("a red DaWa", "a red 大娃"):
        assert np.array_equal(make(model, "named.safetensors", prompt=prompt), called)
    uses = [
        model.resolve(Request(prompt=prompt, adapters=["named.safetensors"])).adapters for prompt in ("a boat", "大娃")
    ]
    assert [use.weight for (use,) in uses] == [0, 1]
    with pytest.raises(UsageError, match=r"named.safetensors:0; named.safetensors:1: requests"):
        model.make(*(Request(prompt=prompt, adapters=["named.safetensors"]) for prompt in ("a boat", "DaWa")))
    (line,) = model.advice(Request(prompt="a boat", adapters=["named.safetensors"]))
    assert line.endswith("does not say; so it is left out, where named.safetensors:1 uses it all the same")
    (line,) = model.advice(Request(prompt="a boat", adapters=["named.safetensors:1"]))
    assert line.endswith("does not say")
    for path in ("kohya", "comfyui"):
        file.write(named, tmp_path / f"{path}.safetensors", Naming(path))
        assert file.read(tmp_path / f"{path}.safetensors").only_named


def test_advice_says_what_a_person_should_know(model, tmp_path):
    adapter = file.read(tmp_path / "one.safetensors")
    name = model.checkpoint.config.name

    def advice(prompt="a boat", **values):
        file.write(replace(adapter, **values), tmp_path / "a.safetensors")
        return model.advice(Request(prompt=prompt, adapters=["a.safetensors"]))

    assert advice() == []
    assert "taken is alpha = rank." in advice(assumed="alpha = rank")[0]
    assert advice(triggers=("DaWa", "ErWa")) == [
        "a.safetensors: listens to DaWa or ErWa, which the prompt does not say"
    ]
    assert advice("a dawa boat", triggers=("DaWa",)) == []
    assert len(advice("a dawan boat", triggers=("DaWa",))) == 1
    assert advice("大娃在船上", triggers=("DaWa",), aliases={"大娃": "DaWa"}) == []
    assert f"trained for cogvideox-5b, not for {name}" in advice(base="cogvideox-5b")[0]
    assert f"trained on other weights of {name}" in advice(base=name, base_sha256="0" * 64)[0]
    assert advice(base=name) == []


def test_merged_weights_are_not_taken_for_the_base(model, tmp_path):
    adapter = file.read(tmp_path / "one.safetensors")
    file.write(replace(adapter, base=model.checkpoint.config.name), tmp_path / "a.safetensors")
    make(model, "two.safetensors", merged=True)
    assert model.advice(Request(prompt="a boat", adapters=["a.safetensors"])) == []


def test_what_changes_the_text_and_the_timestep_is_on_as_well(model, tmp_path):
    """They are computed apart from the blocks. Merged weights cannot miss them."""
    plain = make(model)
    for layer in ("text_proj", "time_embedding.linear_2", "norm1.linear", "patch_embed.proj"):
        adapter = random_adapter(model.checkpoint.transformer, 3, targets=(layer,))
        file.write(adapter, tmp_path / "a.safetensors")
        live, merged = make(model, "a.safetensors"), make(model, "a.safetensors", merged=True)
        assert np.abs(live.astype(int) - merged).max() <= 1 and not np.array_equal(live, plain)


@pytest.mark.parametrize(
    ("use", "line"),
    [
        ("x:heavy", "adapter=x:heavy: after the colon comes a number, e.g. x:0.8"),
        ("x:", "adapter=x:: after the colon comes a number"),
        ("x:nan", "weight=nan: "),
        ({"source": "x", "weight": "inf"}, "weight='inf': "),
        ({"source": "x", "scale": 1}, "scale=1: "),
    ],
)
def test_a_use_that_makes_no_sense_is_refused_in_one_line(use, line):
    with pytest.raises(UsageError) as refused:
        Request.model_validate({"prompt": "a boat", "adapters": [use]})
    assert line in str(refused.value) and "\n" not in str(refused.value)


def test_a_colon_in_a_path_is_no_weight(tmp_path):
    odd = tmp_path / "a:1"
    odd.touch()
    assert AdapterUse.model_validate(str(odd)).source == str(odd)
    assert AdapterUse.model_validate(f"{odd}:0.5") == AdapterUse(source=str(odd), weight=0.5)
    assert AdapterUse.model_validate("C:\\loras\\a.safetensors").weight is None


def test_bad_adapters_are_refused_before_the_work_begins(model, tmp_path):
    with pytest.raises(UsageError, match="give each once, with one weight"):
        model.stream(Request(prompt="a boat", adapters=["one.safetensors", "./one.safetensors:0.5"]))
    with pytest.raises(UsageError, match="requests that are made together share them"):
        model.stream(Request(prompt="a boat", adapters=["one.safetensors"]), Request(prompt="a boat"))
    foreign = toy_checkpoint(replace(COGVIDEOX_2B, tasks=NANO.tasks)).transformer
    wide = attach.create(type(foreign)(replace(foreign.config, heads=3)), rank=2, alpha=1)
    file.write(wide, tmp_path / "wide.safetensors")
    with pytest.raises(PiyingError, match=r"wide.safetensors: the adapter is for a model of width 48; this one has 32"):
        model.stream(Request(prompt="a boat", adapters=["wide.safetensors"]))


@pytest.mark.parametrize("merged", [False, True], ids=["live", "merged"])
def test_the_pipeline_of_diffusers_makes_the_same_video_with_our_file(tmp_path, merged):
    weights.save(toy_checkpoint(COGVIDEOX_2B), tmp_path / "model", torch.float32)
    model = load(tmp_path / "model", device="cpu")
    file.write(random_adapter(model.checkpoint.transformer, 3), tmp_path / "a.safetensors")
    pipeline = CogVideoXPipeline.from_pretrained(tmp_path / "model")
    pipeline.scheduler = CogVideoXDDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(tmp_path / "a.safetensors", adapter_name="a")
    pipeline.set_adapters("a", 0.7)
    expected = pipeline(
        prompt="a red boat",
        height=SIZE[0],
        width=SIZE[1],
        num_frames=9,
        num_inference_steps=3,
        guidance_scale=6.0,
        generator=torch.Generator().manual_seed(4),
        output_type="latent",
        max_sequence_length=8,
    ).frames
    request = Request(
        prompt="a red boat", seed=4, steps=3, adapters=[f"{tmp_path}/a.safetensors:0.7"], adapters_merged=merged
    )
    *_, state = model.stream(request)
    assert (state.latents - expected).norm() / expected.norm() < 1e-4
