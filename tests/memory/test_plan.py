"""Plans of the published members at their own shapes: from the configuration alone, on any machine."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_15_5B, NANO
from piying.errors import OutOfMemory
from piying.memory.calibration import CONTEXT, Rates
from piying.memory.peaks import Sizes
from piying.memory.plan import LADDER, least, plan, rungs
from piying.models import vae_memory
from piying.request import Request, resolve

GIB = 2**30
CARDS = [  # every card that each member is to run on
    (COGVIDEOX_2B, (4, 6, 8)),
    (COGVIDEOX_5B, (6, 8, 12)),
    (COGVIDEOX_15_5B, (12, 16)),
]


def request(member, **values):
    return resolve(Request(prompt="x", seed=0, **values), member)


def sizes(member, **values):
    return Sizes(member, request(member, **values), 1, getattr(torch, member.precision))


@pytest.mark.parametrize(("member", "memory"), [(member, memory * GIB) for member, cards in CARDS for memory in cards])
def test_each_member_has_a_plan_for_each_card_and_keeps_within_it(member, memory):
    made = plan(member, request(member), memory)
    assert made.taken <= memory
    assert {stage.name for stage in made.stages} == {"text", "denoise", "decode"}
    assert made.peak == max(stage.peak for stage in made.stages) and made.seconds > 0


def test_more_memory_never_makes_a_slower_plan():
    made = [plan(COGVIDEOX_5B, request(COGVIDEOX_5B), memory * GIB) for memory in (6, 8, 12, 16, 24, 48)]
    assert [one.rung for one in made] == sorted((one.rung for one in made), reverse=True)
    assert made[0].layout.blocks == "streamed" and made[-1].layout == LADDER[0]
    assert made[-1].vae_limit is None and made[0].vae_limit


def test_each_rung_needs_no_more_than_the_one_above():
    found = [{stage.name: stage.peak for stage in one.stages} for one in rungs(sizes(COGVIDEOX_2B), 100 * GIB)]
    assert len(found) == len(LADDER)
    for upper, lower in pairwise(found):
        assert all(lower[name] <= upper[name] for name in upper) and lower != upper


def test_the_least_that_is_told_is_enough_and_less_is_not():
    enough = least(sizes(COGVIDEOX_2B))
    assert plan(COGVIDEOX_2B, request(COGVIDEOX_2B), enough)
    with pytest.raises(OutOfMemory, match=r"memory=.*: 49 frames of 480x720 with cogvideox-2b take .* at least; use"):
        plan(COGVIDEOX_2B, request(COGVIDEOX_2B), enough - 2**26)


def test_larger_videos_need_more():
    small, large = (sizes(COGVIDEOX_15_5B, frames=frames) for frames in (17, 81))
    assert large.denoising(apart=True) > 2 * small.denoising(apart=True)
    assert large.autoencoding(None) > small.autoencoding(None)


def test_quantised_weights_take_their_bytes():
    whole, quantised = sizes(COGVIDEOX_5B), Sizes(COGVIDEOX_5B, request(COGVIDEOX_5B), 1, torch.bfloat16, "int8")
    assert quantised.block == pytest.approx(whole.block / 2, rel=0.04)
    made = plan(COGVIDEOX_5B, request(COGVIDEOX_5B), 12 * GIB, weights="int8")
    assert made.parts["blocks"] == 42 * quantised.block


def test_a_cap_on_one_stage_leaves_the_others_alone():
    memory = 40 * GIB
    first = next(rungs(sizes(COGVIDEOX_2B), memory))
    lower = next(rungs(sizes(COGVIDEOX_2B), memory, caps={"denoise": first.stages[1].peak - 1}))
    assert lower.rung > first.rung and lower.stages[1].peak < first.stages[1].peak
    decode = next(rungs(sizes(COGVIDEOX_2B), memory, caps={"decode": first.stages[2].peak - 1}))
    assert decode.stages[2].peak < first.stages[2].peak


def test_a_video_without_guidance_has_no_pair_to_take_apart():
    made = [one.layout.pair for one in rungs(sizes(COGVIDEOX_2B, guidance=1.0), 100 * GIB)]
    assert set(made) == {"together"}


def test_copies_count_where_nothing_hides_them():
    slow = Rates("a slow bus", matrix=750e12, attention=530e12, convolution=440e12, copy=1e9, gather=1e9)
    quick, waiting = (plan(COGVIDEOX_2B, request(COGVIDEOX_2B), 5 * GIB, **rates) for rates in ({}, {"rates": slow}))
    assert quick.layout.blocks == waiting.layout.blocks == "streamed"
    assert waiting.stages[1].seconds == pytest.approx(50 * 31 / 30 * waiting.parts["blocks"] / 1e9)


def test_a_plan_in_json_says_all():
    plain = plan(NANO, request(NANO), GIB * 4).plain()
    assert plain["layout"] == LADDER[0]._asdict()
    assert plain["taken"] >= plain["peak"] + CONTEXT
    assert [stage["name"] for stage in plain["stages"]] == ["text", "denoise", "decode"]


def test_a_video_that_is_given_stands_beside_the_work_of_encoding_it(monkeypatch):
    own = sizes(COGVIDEOX_15_5B)
    pixels = 3 * 81 * 768 * 1360 * own.dtype.itemsize
    monkeypatch.setattr(vae_memory, "peak", lambda call, limit: limit if call.task == "encode" else GIB)
    assert own.autoencoding(2 * GIB) == GIB
    given = replace(own, request=own.request.model_copy(update={"video": Path("x.mp4")}))
    assert given.autoencoding(2 * GIB) == 2 * GIB
    monkeypatch.setattr(vae_memory, "peak", lambda call, limit: 2 * GIB if call.task == "encode" else GIB)
    assert given.autoencoding(2 * GIB) == 2 * GIB + pixels


def test_a_card_without_kernels_needs_more():
    fused, plain = (plan(COGVIDEOX_5B, request(COGVIDEOX_5B), 24 * GIB, fused=on) for on in (True, False))
    assert plain.peak > fused.peak
