"""Quantised weights on disk and while they are read: the same either way, and marked so that nobody misreads them."""

import json
from dataclasses import replace

import pytest
import torch
from diffusers import CogVideoXPipeline, CogVideoXTransformer3DModel
from safetensors.torch import load_file, save_file
from toys import toy_checkpoint

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B
from piying.errors import PiyingError, UsageError
from piying.models import quant
from piying.weights import load, loose, save
from piying.weights.checkpoint import convert
from piying.weights.source import open_folder

KINDS = ["int8", "fp8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("models") / "full"
    toy = toy_checkpoint(COGVIDEOX_5B)
    save(replace(toy, config=replace(toy.config, precision="bfloat16")), made)
    return made


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def small(folder, kind, tmp_path):
    convert(open_folder(folder), tmp_path / "small", kind)
    return tmp_path / "small"


def tensors(checkpoint):
    parts = {"transformer": checkpoint.transformer, "vae": checkpoint.vae, "text": checkpoint.text}
    return {(part, name): tensor for part, module in parts.items() for name, tensor in module.state_dict().items()}


def same(one, other):
    one, other = tensors(one), tensors(other)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype, name
        assert torch.equal(tensor.float(), other[name].float()), name


def test_products_are_quantised_while_they_are_read_and_the_rest_is_not_touched(folder, kind):
    full, small = load(folder), load(folder, weights=kind)
    assert (full.weights, small.weights) == ("full", kind)
    quantised = {f"{name}.weight" for module in (full.transformer, full.text) for name in quant.products(module)}
    found, plain = tensors(small), tensors(full)
    for (part, name), tensor in plain.items():
        if part == "vae" or name not in quantised:
            assert torch.equal(found[part, name], tensor)
            continue
        values, scale = quant.quantise(tensor, kind)
        assert torch.equal(found[part, name].float(), values.float())
        assert torch.equal(found[part, f"{name}_scale"], scale)


def test_a_converted_folder_is_what_is_quantised_on_the_way(folder, small, kind):
    same(load(small), load(folder, weights=kind))
    same(load(small, weights=kind), load(small))
    assert load(small).weights == kind


def test_weights_that_wait_in_their_file_are_quantised_alike(folder, small, kind):
    same(load(small, waiting=True), load(folder, weights=kind, waiting=True))


def test_a_quantised_model_is_saved_as_it_is(small, tmp_path):
    save(load(small), tmp_path / "again")
    same(load(tmp_path / "again"), load(small))


def test_a_converted_folder_is_converted_again_as_it_lies(small, tmp_path):
    convert(open_folder(small), tmp_path / "again")
    same(load(tmp_path / "again"), load(small))


def test_products_take_half_the_bytes(folder, small):
    def product_bytes(path):
        source = open_folder(path)
        return sum(tensor.nbytes for name, tensor in source.transformer.tensors.items() if ".attn1.to_" in name)

    assert 0.5 < product_bytes(small) / product_bytes(folder) < 0.6


def test_where_float16_overflows_the_layer_still_computes_in_float32(kind, tmp_path):
    toy = toy_checkpoint(COGVIDEOX_2B)
    save(replace(toy, config=replace(toy.config, precision="float16")), tmp_path / "half", torch.float16)
    small = load(tmp_path / "half", weights=kind)
    block = small.text.blocks[0]
    assert (block.ff.out.dtype, block.ff.gate.dtype) == (torch.float32, torch.float16)
    tokens = torch.tensor([[3, 4, 1]])
    plain, near = load(tmp_path / "half").text(tokens), small.text(tokens)
    assert near.dtype == plain.dtype and 0 < ((near - plain).norm() / plain.norm()).item() < 0.2


def test_diffusers_refuses_what_it_would_misread(small):
    for read in (lambda: CogVideoXTransformer3DModel.from_pretrained(small / "transformer"),
                 lambda: CogVideoXPipeline.from_pretrained(small)):  # fmt: skip
        with pytest.raises(ValueError, match="Unknown quantization type, got piying"):
            read()


def rewrite(path, change):
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


def test_another_quantisation_is_refused(small):
    config = small / "transformer" / "config.json"
    rewrite(config, lambda told: told.update(quantization_config={"quant_method": "bitsandbytes"}))
    with pytest.raises(PiyingError, match=r"quantised by 'bitsandbytes'; take full ones"):
        load(small)


def test_parts_that_differ_in_their_weights_are_refused(small):
    rewrite(small / "text_encoder" / "config.json", lambda told: told.pop("quantization_config"))
    with pytest.raises(PiyingError, match=r"in the transformer, full in the text encoder"):
        load(small)


def test_eight_bits_do_not_become_other_ones(small, kind):
    for wanted in {"full", *KINDS} - {kind}:
        with pytest.raises(UsageError, match=rf"weights={wanted}: .*transformer holds {kind}; leave it out"):
            load(small, weights=wanted)


def test_apples_gpu_takes_no_float8(folder):
    with pytest.raises(UsageError, match=r"weights=fp8: Apple's GPU has no such numbers; load .* with int8"):
        load(folder, device="mps", weights="fp8")


def test_a_value_that_is_no_number_is_found_while_it_is_quantised(folder, kind, tmp_path):
    convert(open_folder(folder), tmp_path / "broken")
    file = tmp_path / "broken" / "transformer" / "diffusion_pytorch_model.safetensors"
    held = load_file(file)
    held["transformer_blocks.1.ff.net.2.weight"][3, 5] = float("nan")
    save_file(held, file)
    with pytest.raises(PiyingError, match=r"transformer_blocks\.1\.ff\.net\.2\.weight(_scale)? holds values that are"):
        load(tmp_path / "broken", weights=kind)


def test_a_mark_of_the_wrong_kind_is_found(small, kind):
    other = next(one for one in KINDS if one != kind)
    for part in ("transformer", "text_encoder"):
        rewrite(small / part / "config.json", lambda told: told["quantization_config"].update(weights=other))
    with pytest.raises(PiyingError, match="weight"):
        load(small)


def test_a_quantised_base_gives_nothing_to_loose_files(folder, small):
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    with pytest.raises(UsageError, match=r"base=.*small: holds (int8|fp8) weights; name one that holds full ones"):
        loose.open_files([file], small)
