"""On a card: nothing is computed on half a copy, and what is planned is what is taken."""

import copy
from dataclasses import replace

import pytest
import torch
from test_place import ROOM
from torch import nn
from toys import tokenizer

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B
from piying.generate import Model
from piying.host import page_locked
from piying.memory import plan as planning
from piying.memory.calibration import CONTEXT
from piying.memory.plan import LADDER
from piying.memory.stream import Stream
from piying.models.text import TextEncoder
from piying.models.transformer import Transformer
from piying.models.vae import VAE
from piying.request import Request
from piying.weights import Checkpoint

pytestmark = pytest.mark.gpu
GIB = 2**30
REQUEST = Request(prompt="a red boat", seed=3, steps=3)
_SHORT, _LONG = 10**5, 3 * 10**7  # cycles: well below and well above a copy


@pytest.fixture
def card():
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield torch.device("cuda", torch.cuda.current_device())
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


class Slow(nn.Module):
    """A product before and after the card has waited a while, so that weights which change meanwhile are noticed."""

    def __init__(self, seed: int, cycles: int) -> None:
        super().__init__()
        self.cycles = cycles
        random = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(2048, 2048, generator=random) / 45, requires_grad=False)

    def forward(self, x):
        x = x @ self.weight
        torch.cuda._sleep(self.cycles)
        return x @ self.weight


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("cycles", [0, _SHORT, _LONG])
@torch.inference_mode()
def test_fast_and_slow_blocks_read_their_own_weights_from_the_slots(card, copies, cycles):
    with torch.inference_mode(False):
        blocks = [Slow(seed, cycles if seed % 3 else 0) for seed in range(9)]
        x = torch.randn(64, 2048, device=card)
    expected = x
    for block in blocks:
        weight = block.weight.to(card)
        expected = expected @ weight @ weight
    stream = Stream(blocks, card, copies=copies)
    for _ in range(3):
        y = x
        with stream() as flowing:
            for block in flowing:
                y = block(y)
        assert torch.equal(y, expected)
        stream.release()  # the memory of the slots is used for other things at once
        torch.empty(2 * blocks[0].weight.nbytes, dtype=torch.uint8, device=card).fill_(255)


def test_copies_are_page_locked(card):
    assert page_locked(2**20, card).is_pinned()


def test_memory_that_the_system_does_not_lock_serves_unlocked(card, monkeypatch):
    runtime = torch.cuda.cudart()

    class Refusing:
        def cudaHostRegister(self, *memory):
            runtime.cudaHostRegister(*memory)
            return runtime.cudaHostRegister(*memory)  # a second time CUDA refuses, and keeps that in mind

    with monkeypatch.context() as patched:
        patched.setattr(torch.cuda, "cudart", Refusing)
        page_locked(2**20, card)
    assert (torch.ones(4, device=card) + 1).sum() == 8


def random_checkpoint(config):
    """Weights that keep activations at their size, in host memory; the card draws them."""
    random = torch.Generator("cuda").manual_seed(0)
    modules = []
    for network, part in ((Transformer, config.transformer), (VAE, config.vae), (TextEncoder, config.text)):
        with torch.device("meta"):
            module = network(part)
        module = module.to(getattr(torch, config.precision)).to_empty(device="cpu").requires_grad_(False).eval()
        for name, parameter in module.named_parameters():
            spread = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.0
            drawn = torch.randn(parameter.shape, generator=random, device="cuda") * spread
            parameter.copy_(drawn + float(parameter.ndim == 1 and name.endswith("weight")))
        modules.append(module)
    return Checkpoint(config, *modules, tokenizer())


@pytest.fixture(scope="module")
def shallow():
    """The 2B and the 5B at their real widths, with few layers."""
    return {
        member.name: random_checkpoint(
            replace(
                member,
                transformer=replace(member.transformer, layers=3),
                text=replace(member.text, vocabulary=64, layers=2),
            )
        )
        for member in (COGVIDEOX_2B, COGVIDEOX_5B)
    }


def on_card(checkpoint, card):
    """As `load` leaves it: blocks, text encoder and autoencoder in host memory, the rest on the card."""
    transformer, vae, text = copy.deepcopy((checkpoint.transformer, checkpoint.vae, checkpoint.text))
    for name, part in transformer.named_children():
        if name != "transformer_blocks":
            part.to(card)
    return Checkpoint(checkpoint.config, transformer, vae, text, checkpoint.tokenizer)


@pytest.mark.parametrize("pair", ["together", "apart"])
@pytest.mark.parametrize("name", [COGVIDEOX_2B.name, COGVIDEOX_5B.name])
def test_a_streamed_video_is_the_resident_one_bit_for_bit(card, shallow, monkeypatch, name, pair):
    found = []
    for blocks in ("resident", "streamed"):
        monkeypatch.setattr(planning, "LADDER", (LADDER[3]._replace(blocks=blocks, pair=pair),))
        model = Model(on_card(shallow[name], card), "shallow", ROOM)
        request = REQUEST.model_copy(update={"frames": 9, "size": (256, 256)})
        found.append(list(model.stream(request))[-1].latents)
    assert torch.equal(*found)


@pytest.mark.parametrize("layout", LADDER, ids=lambda layout: "-".join(layout))
@pytest.mark.parametrize("name", [COGVIDEOX_2B.name, COGVIDEOX_5B.name])
def test_what_is_planned_is_what_is_taken(card, shallow, monkeypatch, name, layout):
    monkeypatch.setattr(planning, "LADDER", (layout,))
    model = Model(on_card(shallow[name], card), "shallow", 12 * GIB)
    torch.cuda.reset_peak_memory_stats()
    last = list(model.stream(REQUEST))[-1]
    denoise = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    _ = last.decoded
    decode = torch.cuda.max_memory_allocated()
    text, steps, frames = model.place.plan.stages
    assert denoise == pytest.approx(max(text.peak, steps.peak), rel=0.1)
    assert decode == pytest.approx(frames.peak, rel=0.1)


@pytest.mark.parametrize("memory", [3.5, 5])
def test_a_video_is_made_within_the_memory_of_a_small_card(card, shallow, memory):
    model = Model(on_card(shallow[COGVIDEOX_2B.name], card), "shallow", int(memory * GIB))
    total = torch.cuda.get_device_properties(card).total_memory
    torch.cuda.set_per_process_memory_fraction((memory * GIB - CONTEXT) / total)
    last = list(model.stream(REQUEST))[-1]
    assert len(last.decoded[0][0]) == 49
    assert torch.cuda.max_memory_reserved() <= memory * GIB - CONTEXT


def test_a_card_that_holds_less_than_was_planned_with_costs_a_line(card, shallow):
    said = []
    model = Model(on_card(shallow[COGVIDEOX_2B.name], card), "shallow", 20 * GIB, said.append)
    total = torch.cuda.get_device_properties(card).total_memory
    torch.cuda.set_per_process_memory_fraction(4 * GIB / total)
    last = list(model.stream(REQUEST))[-1]
    assert len(last.decoded[0][0]) == 49
    assert said and all(line.startswith("memory ran out while working on") for line in said)
