"""Wherever its parts lie, a model makes the same video, and when memory runs out it goes on a rung lower."""

from pathlib import Path

import numpy as np
import pytest
import torch
from toys import toy_checkpoint

from piying.adapters.attach import create, fit
from piying.adapters.file import write
from piying.config import COGVIDEOX_2B, COGVIDEOX_15_5B, NANO
from piying.errors import OutOfMemory
from piying.generate import Model
from piying.memory import plan as planning
from piying.memory.lend import tensors_of
from piying.memory.place import Place
from piying.memory.plan import LADDER
from piying.request import Request
from piying.sampling.steps import STEPS, dpm
from piying.weights import load, save

ROOM = 2**40
MEMBERS = [COGVIDEOX_2B, COGVIDEOX_15_5B, NANO]
REQUEST = Request(prompt="a red boat", seed=3, steps=3)


@pytest.fixture
def ladder(monkeypatch):
    """Leaves only some rungs to choose from."""
    return lambda *layouts: monkeypatch.setattr(planning, "LADDER", layouts)


@pytest.fixture
def adapter(tmp_path):
    """A DoRA that changes attention, feed-forward, adaptive norms and the output of a toy."""
    transformer = toy_checkpoint(COGVIDEOX_2B).transformer
    made = create(transformer, rank=2, alpha=2, dora=True, targets=("to_q", "net.2", "norm1.linear", "proj_out"))
    for layer in made.layers.values():
        layer.up.normal_(generator=torch.Generator().manual_seed(0))
    write(made, tmp_path / "adapter.safetensors")
    return str(tmp_path / "adapter.safetensors")


def runs_out(module, *calls):
    """The module says that memory ran out at these calls."""
    count = iter(range(10**6))

    def fail(*_):
        if next(count) in calls:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    return module.register_forward_pre_hook(fail)


@pytest.mark.parametrize("layout", LADDER, ids=lambda layout: "-".join(layout))
@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
def test_every_rung_makes_the_video_that_a_resident_model_makes(ladder, member, layout):
    expected = list(Model(toy_checkpoint(member), "toy").stream(REQUEST))[-1]
    ladder(layout)
    model = Model(toy_checkpoint(member), "toy", ROOM)
    found = list(model.stream(REQUEST))[-1]
    assert model.place.plan.layout == layout
    if layout.pair == "together":
        assert torch.equal(found.latents, expected.latents)
    torch.testing.assert_close(found.latents, expected.latents, atol=1e-4, rtol=1e-4)
    assert np.abs(found.videos()[0].frames.astype(int) - expected.videos()[0].frames).max() <= 1


def test_streamed_and_resident_are_the_same_bits_with_the_rows_apart_too(ladder):
    found = []
    for blocks in ("resident", "streamed"):
        ladder(LADDER[2]._replace(blocks=blocks))
        found.append(list(Model(toy_checkpoint(COGVIDEOX_2B), "toy", ROOM).stream(REQUEST))[-1].latents)
    assert torch.equal(*found)


@pytest.mark.parametrize("merged", [True, False])
def test_adapters_change_a_streamed_model_as_they_change_a_resident_one(ladder, adapter, merged):
    request = REQUEST.model_copy(update={"adapters_merged": merged}).model_validate(
        {**REQUEST.model_dump(exclude_none=True), "adapters": (adapter,), "adapters_merged": merged}
    )
    plain = list(Model(toy_checkpoint(COGVIDEOX_2B), "toy").stream(REQUEST))[-1].latents
    expected = list(Model(toy_checkpoint(COGVIDEOX_2B), "toy").stream(request))[-1].latents
    ladder(LADDER[3])
    model = Model(toy_checkpoint(COGVIDEOX_2B), "toy", ROOM)
    assert torch.equal(list(model.stream(request))[-1].latents, expected)
    assert torch.equal(list(model.stream(REQUEST))[-1].latents, plain)
    assert not torch.equal(expected, plain)


def with_adapter(adapter):
    return Request.model_validate({**REQUEST.model_dump(exclude_none=True), "adapters": (adapter,)})


def test_adapters_are_planned_for_and_counted_once(adapter):
    model = Model(toy_checkpoint(COGVIDEOX_2B), "toy", ROOM)
    model.make(REQUEST)
    plain = [stage.peak for stage in model.place.plan.stages]
    for _ in range(2):
        model.make(with_adapter(adapter))
        (fitted,) = model.rack._fitted.values()
        size = sum(tensor.nbytes for name, tensor in tensors_of(fitted).items() if not name.endswith("strength"))
        assert [stage.peak - before for stage, before in zip(model.place.plan.stages, plain, strict=True)] == [size] * 3
        assert model.rack.sizes([]) == (size, size)


def test_memory_that_runs_out_while_adapters_come_lowers_the_plan(ladder, adapter, monkeypatch):
    expected = list(Model(toy_checkpoint(COGVIDEOX_2B), "toy").stream(with_adapter(adapter)))[-1].latents
    ladder(LADDER[1], LADDER[3])
    calls = iter(range(10))

    def fails_once(*arguments):
        if next(calls) == 0:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return fit(*arguments)

    monkeypatch.setattr("piying.adapters.rack.fit", fails_once)
    model = Model(toy_checkpoint(COGVIDEOX_2B), "toy", ROOM, lambda _: None)
    assert torch.equal(list(model.stream(with_adapter(adapter)))[-1].latents, expected)
    assert model.place.plan.layout == LADDER[3]


@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
@pytest.mark.parametrize("call", [0, 3, 4])  # of the last block: while it makes the first step, the second, the third
def test_memory_that_runs_out_in_a_step_costs_the_step_alone(ladder, sampler, call):
    request = REQUEST.model_copy(update={"sampler": sampler, "steps": 5})
    expected = list(Model(toy_checkpoint(COGVIDEOX_2B), "toy").stream(request))[-1].latents
    ladder(LADDER[1], LADDER[3])
    said = []
    model = Model(toy_checkpoint(COGVIDEOX_2B), "toy", ROOM, said.append)
    runs_out(model.checkpoint.transformer.transformer_blocks[1], call)
    steps = list(model.stream(request))
    assert [step.step for step in steps] == [1, 2, 3, 4, 5]
    assert torch.equal(steps[-1].latents, expected)
    assert model.place.plan.layout == LADDER[3]
    assert said == [
        "memory ran out while working on denoise: from here on the transformer is streamed, the text encoder streamed,"
        " the autoencoder fetched"
    ]


def test_noise_that_a_failed_step_has_drawn_is_drawn_again(ladder, monkeypatch):
    request = REQUEST.model_copy(update={"sampler": "dpm", "steps": 4})
    expected = list(Model(toy_checkpoint(COGVIDEOX_2B), "toy").stream(request))[-1].latents
    ladder(LADDER[1], LADDER[3])
    calls = iter(range(100))

    def fails_once(*arguments):
        made = dpm(*arguments)
        if next(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return made

    monkeypatch.setitem(STEPS, "dpm", fails_once)
    model = Model(toy_checkpoint(COGVIDEOX_2B), "toy", ROOM, lambda _: None)
    assert torch.equal(list(model.stream(request))[-1].latents, expected)


def test_a_merged_adapter_stays_merged_when_the_model_leaves_the_card(ladder, adapter):
    request = Request.model_validate(
        {**REQUEST.model_dump(exclude_none=True), "adapters": (adapter,), "adapters_merged": True}
    )
    expected = list(Model(toy_checkpoint(COGVIDEOX_2B), "toy").stream(request))[-1].latents
    ladder(LADDER[1], LADDER[3])
    model = Model(toy_checkpoint(COGVIDEOX_2B), "toy", ROOM, lambda _: None)
    runs_out(model.checkpoint.transformer.transformer_blocks[0], 1)
    assert torch.equal(list(model.stream(request))[-1].latents, expected)


@pytest.mark.parametrize("part", ["text", "vae.decoder"])
def test_text_and_decoding_are_done_anew_as_well(ladder, part):
    expected = Model(toy_checkpoint(COGVIDEOX_2B), "toy").make(REQUEST)[0].frames
    ladder(LADDER[0], LADDER[1])
    model = Model(toy_checkpoint(COGVIDEOX_2B), "toy", ROOM, lambda _: None)
    runs_out(model.checkpoint.text if part == "text" else model.checkpoint.vae.decoder, 0)
    stage = {"text": 0, "vae.decoder": 2}[part]
    model.place.settle([model.resolve(REQUEST)])
    before = model.place.plan
    assert np.array_equal(model.make(REQUEST)[0].frames, expected)
    after = model.place.plan
    assert after.rung > before.rung or after.stages[stage].peak < 0.91 * before.stages[stage].peak


def test_the_lowest_rung_has_none_below(ladder):
    ladder(LADDER[4])
    model = Model(toy_checkpoint(COGVIDEOX_2B), "toy", ROOM, lambda _: None)
    runs_out(model.checkpoint.transformer.transformer_blocks[0], *range(100))
    with pytest.raises(OutOfMemory, match="9 frames of 32x48 do not fit into memory"):
        list(model.stream(REQUEST))


def test_a_budget_that_holds_no_plan_is_told_before_anything_moves():
    model = Model(toy_checkpoint(COGVIDEOX_2B), "toy", 2**20)
    with pytest.raises(OutOfMemory, match=r"memory=1 MiB: 9 frames of 32x48 with cogvideox-2b take \d+ MiB at least"):
        list(model.stream(REQUEST))


def test_a_model_can_climb_again_and_keeps_its_weights(ladder):
    checkpoint = toy_checkpoint(COGVIDEOX_2B)
    model = Model(checkpoint, "toy", ROOM)
    before = {name: tensor.clone() for name, tensor in tensors_of(checkpoint.transformer).items()}
    expected = list(Model(toy_checkpoint(COGVIDEOX_2B), "toy").stream(REQUEST))[-1].latents
    for layout in (*LADDER[::-1], *LADDER):
        ladder(layout)
        if layout.pair == "together":
            assert torch.equal(list(model.stream(REQUEST))[-1].latents, expected)
    after = tensors_of(checkpoint.transformer)
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_without_a_budget_nothing_is_planned(monkeypatch):
    model = Model(toy_checkpoint(COGVIDEOX_2B), "toy")
    homes = [tensor.data_ptr() for tensor in tensors_of(model.checkpoint.transformer).values()]
    model.make(REQUEST)
    assert model.place.plan is None
    assert homes == [tensor.data_ptr() for tensor in tensors_of(model.checkpoint.transformer).values()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("layout", [LADDER[0], LADDER[3]], ids=lambda layout: layout.blocks)
@pytest.mark.parametrize("copies", [True, False])
def test_weights_that_wait_in_their_file_make_the_same_video(tmp_path, ladder, monkeypatch, dtype, layout, copies):
    """Published files of the 2B are float16, in which one place of the text encoder computes in float32."""
    monkeypatch.setattr(Place, "_has_room_for_copies", lambda _: copies)
    ladder(layout)
    checkpoint = toy_checkpoint(COGVIDEOX_2B)
    for parameter in checkpoint.text.parameters():
        parameter.mul_(0.5)
    save(checkpoint, tmp_path / "model", dtype)
    found = []
    for waiting, memory in ((False, None), (True, ROOM)):
        model = Model(load(tmp_path / "model", dtype=dtype, waiting=waiting), "toy", memory)
        found.append(list(model.stream(REQUEST))[-1].latents)
    assert torch.equal(*found)


def test_weights_that_wait_are_not_copied_into_memory(tmp_path):
    """A mapped file is no memory of the process: all tensors of a part lie in the mapping of its file."""
    save(toy_checkpoint(COGVIDEOX_2B), tmp_path / "model", torch.float32)
    waiting = load(tmp_path / "model", waiting=True)
    maps = Path("/proc/self/maps").read_text().splitlines()
    mapped = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in maps if "safetensors" in line]
    for part in (waiting.transformer.transformer_blocks, waiting.text, waiting.vae):
        for tensor in tensors_of(part).values():
            assert any(first <= tensor.data_ptr() < last for first, last in mapped)
