"""What is said to be held is what torch holds, on the plain path that runs everywhere."""

from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch
from meter import Meter
from toys import quantised

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_15_5B, FAMILY, VAEConfig
from piying.memory.calibration import WORKSPACE
from piying.memory.peaks import Sizes
from piying.models import positions, vae_bands, vae_memory
from piying.models.text import TextEncoder
from piying.models.transformer import Transformer
from piying.models.vae import VAE, decoded_at_once
from piying.models.vae_past import Coming
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


class Host:
    """Lanes to memory that is no card's."""

    def __init__(self, size):
        self.all, self._taken = torch.empty(size), 0

    def memory(self, shape, dtype):
        first, self._taken = self._taken, self._taken + prod(shape)
        return self.all[first : self._taken].view(shape)

    def load(self, rows):
        return Coming(rows.clone(), None)

    def receive(self, coming):
        return coming.rows

    def store(self, frames, beside):
        beside.copy_(frames)

    def settle(self):
        pass

    finish = settle


@torch.inference_mode()
def test_a_clip_that_goes_on_holds_what_is_said_of_a_first_one(monkeypatch):
    """What the clip before left lies in host memory, and comes to the card no more than a band at a time."""
    monkeypatch.setattr(vae_memory, "BAND", 1_000_000)
    monkeypatch.setattr(vae_memory, "SMALLEST_BAND", 50_000)
    config, size = VAEConfig(channels=(32, 64, 64, 64), blocks=1, groups=8, latent_channels=4), (96, 64)
    call = vae_memory.Call(
        task="decode", config=config, frames=17, size=size, dtype=torch.float32, kernels=False, remember=True
    )
    limit = int(0.6 * vae_memory.peak(call))
    plan = vae_memory.plan(call, limit)
    decoder, first, second = VAE(config).decoder, torch.randn(1, 4, 5, 12, 8), torch.randn(1, 4, 4, 12, 8)
    vae_bands.decode(decoder, first, decoded_at_once(5, False), past := {}, plan)
    host = Host(10_000_000)
    monkeypatch.setattr(vae_bands, "lanes", lambda *_: host)
    with Meter(*past.values(), *decoder.parameters(), second, host.all) as meter:
        vae_bands.decode(decoder, second, decoded_at_once(4, True), dict(past), plan)
    assert plan.past is not None
    assert sum(seen.nbytes for seen in past.values()) > 0.4 * limit
    assert 0.8 * limit < meter.most <= 1.02 * limit


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
