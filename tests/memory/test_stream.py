"""Streamed blocks give bit for bit what resident ones give, and leave everything in its place."""

import weakref

import pytest
import torch
from torch import nn
from toys import quantised, toy_checkpoint

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B
from piying.memory.lend import at_hand, lent, tensors_of
from piying.memory.stream import Stream, layout
from piying.models import quant

CPU = torch.device("cpu")
ADAPTIVE = ("norm1.linear", "norm2.linear")


class Mixed(nn.Module):
    """A block with parameters and buffers of several types, as a quantised one has."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        weight = torch.randint(-127, 128, (7, 5), generator=random, dtype=torch.int8)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.register_buffer("scale", torch.rand(7, generator=random))
        self.norm = nn.LayerNorm(5).to(torch.float64)
        self.bias = nn.Parameter(torch.rand(7, generator=random).to(torch.float8_e4m3fn), requires_grad=False)

    def forward(self, x):
        return x @ (self.weight * self.scale[:, None]).T + self.bias.float() + self.norm.weight.sum().float()


def passed(blocks, x):
    for block in blocks:
        x = block(x)[:, :5]
    return x


@pytest.fixture
def toy():
    """A transformer and what `predict` wants, with a guided pair."""
    model = toy_checkpoint(COGVIDEOX_5B)
    torch.manual_seed(1)
    x = torch.randn(2, 3, 16, *model.config.transformer.latent_size)
    text = model.transformer.embed_text(torch.randn(2, 8, 24))
    return model.transformer, (x, text, model.transformer.modulations(torch.tensor([500, 500])))


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("kind", ["int8", "fp8"])
@torch.no_grad()
def test_quantised_blocks_flow_as_they_are(toy, kind, copies):
    model, given = toy
    quantised(model, kind)
    expected = model.predict(*given)
    model.flow = Stream(list(model.transformer_blocks), CPU, copies=copies, left_out=ADAPTIVE)
    assert torch.equal(model.predict(*given), expected)
    assert next(iter(quant.products(model).values())).weight.dtype.itemsize == 1


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_blocks_of_any_types_compute_the_same_from_two_slots(copies, count):
    blocks = [Mixed(seed) for seed in range(count)]
    x = torch.rand(2, 5)
    expected = passed(blocks, x)
    before = [{name: tensor.clone() for name, tensor in tensors_of(block).items()} for block in blocks]
    stream = Stream(blocks, CPU, copies=copies)
    for _ in range(2):
        with stream() as flowing:
            assert torch.equal(passed(flowing, x), expected)
    for block, tensors in zip(blocks, before, strict=True):
        found = tensors_of(block)
        assert all(torch.equal(found[name].float(), tensor.float()) for name, tensor in tensors.items())
        assert set(block.state_dict()) == set(tensors)


@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("apart", [True, False])
@torch.inference_mode()
def test_a_streamed_transformer_predicts_bit_for_bit_what_a_resident_one_does(toy, copies, apart):
    transformer, given = toy
    transformer.apart = apart
    expected = transformer.predict(*given)
    transformer.flow = Stream(transformer.transformer_blocks, CPU, copies=copies, left_out=ADAPTIVE)
    for _ in range(2):
        assert torch.equal(transformer.predict(*given), expected)


@torch.inference_mode()
def test_the_rows_of_a_pair_go_through_a_block_one_after_the_other(toy):
    transformer, given = toy
    expected, seen = transformer.predict(*given), []
    transformer.apart = True
    transformer.transformer_blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    torch.testing.assert_close(transformer.predict(*given), expected)
    assert seen == [1, 1]


@pytest.mark.parametrize("copies", [True, False])
@torch.inference_mode()
def test_a_streamed_text_encoder_says_bit_for_bit_what_a_resident_one_does(copies):
    model = toy_checkpoint(COGVIDEOX_2B)
    tokens = model.tokenizer(["a red boat", "fog"], 8)
    expected = model.text(tokens)
    model.text.flow = Stream(model.text.blocks, CPU, copies=copies)
    assert torch.equal(model.text(tokens), expected)


def test_a_slot_holds_one_block_at_a_time_and_two_hold_the_next_as_well():
    blocks = [Mixed(seed) for seed in range(5)]
    stream = Stream(blocks, CPU, copies=True)
    with stream() as flowing:
        places = [next(flowing).weight.data_ptr() for _ in range(5)]
    assert len(set(places)) == 2 and places[0] == places[2] == places[4] and places[1] == places[3]


def test_a_flow_that_breaks_off_puts_its_block_back():
    blocks = [Mixed(seed) for seed in range(3)]
    stream = Stream(blocks, CPU, copies=True)
    homes = [block.weight for block in blocks]
    with pytest.raises(ZeroDivisionError), stream() as flowing:
        next(flowing)
        assert blocks[0].weight is not homes[0]
        raise ZeroDivisionError
    assert all(block.weight is home for block, home in zip(blocks, homes, strict=True))


def test_what_is_written_into_a_block_between_two_flows_is_seen_by_the_next():
    blocks = [Mixed(seed) for seed in range(3)]
    x = torch.rand(2, 5)
    for copies in (False, True):
        stream = Stream(blocks, CPU, copies=copies)
        with stream() as flowing:
            before = passed(flowing, x)
        blocks[1].scale.mul_(2)
        with stream() as flowing:
            after = passed(flowing, x)
        assert torch.equal(after, passed(blocks, x)) and not torch.equal(after, before)


def test_copies_are_the_only_home_of_a_block():
    block = Mixed(0)
    Stream([block], CPU, copies=True)
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors_of(block).values()}) == 1


def test_what_is_left_out_stays_in_host_memory_and_outside_the_slots():
    block = toy_checkpoint(COGVIDEOX_2B).transformer.transformer_blocks[0]
    whole, part = layout(block), layout(block, ADAPTIVE)
    assert set(whole.places) - set(part.places) == {
        f"{name}.{kind}" for name in ADAPTIVE for kind in ("weight", "bias")
    }
    stream = Stream([block], CPU, copies=True, left_out=ADAPTIVE)
    home = block.norm1.linear.weight
    with stream() as flowing:
        assert next(flowing).norm1.linear.weight is home
        assert stream.slot_bytes == part.size


@pytest.mark.parametrize("copies", [True, False])
def test_what_overflows_in_float16_is_widened_on_the_way(copies):
    block = toy_checkpoint(COGVIDEOX_2B).text.blocks[0].half()
    stream = Stream([block], CPU, copies=copies, float32="ff.out.weight")
    with stream() as flowing:
        flowed = next(flowing)
        assert (flowed.ff.out.weight.dtype, flowed.ff.gate.weight.dtype) == (torch.float32, torch.float16)


def test_a_module_at_hand_is_widened_too_and_lets_its_copies_go():
    text = toy_checkpoint(COGVIDEOX_2B).text.half()
    own = text.blocks[0].ff.out.weight
    with at_hand(text, CPU, "ff.out.weight"):
        assert text.blocks[0].ff.out.weight.dtype == torch.float32
        copy = weakref.ref(text.blocks[0].ff.out.weight)
    assert text.blocks[0].ff.out.weight is own and copy() is None


def test_lent_tensors_are_taken_back_after_an_error_too():
    block = Mixed(0)
    own = block.norm.weight
    with pytest.raises(ZeroDivisionError), lent(block, {"norm.weight": torch.zeros(5), "scale": torch.ones(7)}):
        assert (block.norm.weight == 0).all() and (block.scale == 1).all()
        raise ZeroDivisionError
    assert block.norm.weight is own and not (block.scale == 1).all()
