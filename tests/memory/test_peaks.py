"""What is said to be held is what torch holds, on the plain path that runs everywhere."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from meter import Meter
from toys import quantised

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_15_5B, FAMILY
from piying.memory.calibration import WORKSPACE
from piying.memory.peaks import Sizes
from piying.models import positions
from piying.models.text import TextEncoder
from piying.models.transformer import Transformer
from piying.request import Request, resolve

FILE = Path(__file__)  # stands for an image
MEMBERS = [COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_15_5B]


def slim(member):
    """Few weights, and as many tokens as make what runs over them count."""
    transformer = replace(member.transformer, layers=2, heads=2, text_width=64, time_width=32)
    text = replace(member.text, vocabulary=32, layers=2, width=128, heads=4, head_width=32, ff_width=320)
    return replace(member, transformer=transformer, text=text, precision="bfloat16")


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.name)
@torch.inference_mode()
def test_a_step_holds_what_is_said(member, apart):
    config = slim(member)
    request = resolve(Request(prompt="x", seed=0, frames=17, size=(256, 256)), config)
    sizes = Sizes(config, request, 1, torch.bfloat16, fused=False)
    with torch.inference_mode(False):
        model = Transformer(config.transformer).to(torch.bfloat16).requires_grad_(False)
    model.apart = apart
    frames = 5 + -5 % config.transformer.patch[0]
    x = torch.randn(2, frames, 16, 32, 32, dtype=torch.bfloat16)
    text = torch.randn(2, 226, 128, dtype=torch.bfloat16)
    modulations = model.modulations(torch.tensor([500, 500]))
    positions.sincos.cache_clear()
    positions.turns.cache_clear()
    with Meter(x, text, *(table for layer in modulations.blocks for table in layer), modulations.out) as meter:
        model.predict(x, text, modulations)
    said = sizes.denoising(apart=apart) - WORKSPACE - sizes.embedding - sizes.inputs - 8 * sizes.latents
    assert 0.9 < meter.most / said < 1.1


@pytest.mark.parametrize("kind", ["int8", "fp8"])
@torch.inference_mode()
def test_quantised_weights_hold_one_matrix_more(kind):
    slender = slim(COGVIDEOX_5B)
    config = replace(slender, transformer=replace(slender.transformer, heads=8))
    request = resolve(Request(prompt="x", seed=0, frames=1, size=(32, 32)), config)
    sizes = Sizes(config, request, 1, torch.bfloat16, kind, fused=False)
    full = replace(sizes, weights="full")
    with torch.inference_mode(False):
        model = quantised(Transformer(config.transformer).to(torch.bfloat16).requires_grad_(False), kind)
    x, text = torch.randn(2, 1, 16, 4, 4, dtype=torch.bfloat16), torch.randn(2, 226, 512, dtype=torch.bfloat16)
    modulations = model.modulations(torch.tensor([500, 500]))
    with Meter(x, text, *(table for layer in modulations.blocks for table in layer), modulations.out) as meter:
        model.predict(x, text, modulations)
    beside = WORKSPACE + sizes.embedding + sizes.inputs + 8 * sizes.latents
    assert 0.9 < meter.most / (sizes.denoising(apart=False) - beside) < 1.1
    assert meter.most / (full.denoising(apart=False) - beside) > 1.15


@torch.inference_mode()
def test_reading_prompts_holds_what_is_said():
    config = slim(COGVIDEOX_5B)
    sizes = Sizes(config, resolve(Request(prompt="x", seed=0), config), 1, torch.bfloat16, fused=False)
    with torch.inference_mode(False):
        model = TextEncoder(config.text).to(torch.bfloat16).requires_grad_(False)
    tokens = torch.zeros(2, 226, dtype=torch.long)
    with Meter(tokens) as meter:
        model(tokens)
    assert 0.9 < meter.most / sizes.reading < 1.1


@pytest.mark.parametrize("member", FAMILY.values(), ids=lambda member: member.name)
def test_the_weights_of_the_parts_are_those_of_the_networks(member):
    request = resolve(Request(prompt="x", seed=0, image=FILE if "text" not in member.tasks else None), member)
    sizes = Sizes(member, request, 1, torch.bfloat16)
    with torch.device("meta"):
        whole, text = (
            built(config) for built, config in ((Transformer, member.transformer), (TextEncoder, member.text))
        )
    count = sum(parameter.numel() for parameter in whole.parameters())
    assert sizes.blocks + sizes.adaptive + sizes.small == pytest.approx(2 * count, rel=2e-3)  # slots are aligned
    assert sizes.text == pytest.approx(2 * sum(parameter.numel() for parameter in text.parameters()), rel=2e-3)


def test_the_work_of_the_published_members_is_what_others_have_counted():
    """FLOP of a step of the guided pair and of decoding, at the members' own shapes."""
    for member, products, attention in (
        (COGVIDEOX_2B, 94, 146),
        (COGVIDEOX_5B, 338, 326),
        (COGVIDEOX_15_5B, 858, 2100),
    ):
        sizes = Sizes(member, resolve(Request(prompt="x", seed=0), member), 1, torch.bfloat16)
        assert [flops / 1e12 for flops in sizes.step_flops] == pytest.approx([products, attention], rel=0.02)
    sizes = Sizes(COGVIDEOX_2B, resolve(Request(prompt="x", seed=0), COGVIDEOX_2B), 1, torch.float16)
    assert sizes.decode_flops / 1e12 == pytest.approx(315, rel=0.05)
