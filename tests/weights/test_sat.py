"""SAT's checkpoints become ours: converted, they compute what diffusers computes of the same weights."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sat_names
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from safetensors.torch import load_file, save_file
from toys import toy, toy_checkpoint

from piying.config import (
    COGVIDEOX_2B,
    COGVIDEOX_5B,
    COGVIDEOX_5B_I2V,
    COGVIDEOX_15_5B,
    COGVIDEOX_15_5B_I2V,
    ModelConfig,
)
from piying.errors import PiyingError, UsageError
from piying.weights import load, loose, part_json, save
from piying.weights.checkpoint import convert

PUBLISHED = [COGVIDEOX_2B, COGVIDEOX_5B, COGVIDEOX_5B_I2V, COGVIDEOX_15_5B, COGVIDEOX_15_5B_I2V]
each_member = pytest.mark.parametrize("member", PUBLISHED, ids=lambda member: member.name)


def theirs(member: ModelConfig) -> tuple[CogVideoXTransformer3DModel, AutoencoderKLCogVideoX]:
    """Random models of diffusers in the shape of a toy, other weights than the toy's own."""
    config = toy(member)
    torch.manual_seed(5)
    transformer = CogVideoXTransformer3DModel.from_config(part_json.transformer_json(config.transformer))
    vae = AutoencoderKLCogVideoX.from_config(part_json.vae_json(config.vae, config.size))
    for tensor in [*transformer.state_dict().values(), *vae.state_dict().values()]:
        tensor.normal_(std=0.2)
    return transformer.eval(), vae.eval()


@pytest.fixture
def base(tmp_path: Path):
    """A folder that gives the text encoder, the tokenizer and the configuration of a toy."""

    def base(member: ModelConfig) -> Path:
        save(toy_checkpoint(member), tmp_path / "base", torch.float32)
        return tmp_path / "base"

    return base


def in_sat(folder: Path, transformer: dict[str, torch.Tensor], vae: dict[str, torch.Tensor]) -> Path:
    """The two files as the authors lay them out, with what SAT stores beside the weights."""
    (folder / "transformer" / "1").mkdir(parents=True)
    (folder / "vae").mkdir()
    (folder / "transformer" / "latest").write_text("1")
    module = {f"model.diffusion_model.{name}": tensor for name, tensor in transformer.items()}
    state = {"module": module, "iteration": 1, "np_rng_state": np.random.get_state(), "random": random.getstate()}
    torch.save(state, folder / "transformer" / "1" / "mp_rank_00_model_states.pt")
    torch.save({"state_dict": vae}, folder / "vae" / "3d-vae.pt")
    return folder


@torch.no_grad()
def assert_same(model, transformer, vae) -> None:
    config = model.config.transformer
    frames = 6 if config.patch[0] == 2 else 3
    grid = config.latent_size
    x, text = torch.randn(1, frames, config.in_channels, *grid), torch.randn(1, 8, config.text_width)
    time, ofs = torch.tensor([7]), torch.tensor([2.0]) if config.ofs_width else None
    turns = None
    if config.positions != "sincos":
        from diffusers.models.embeddings import get_3d_rotary_pos_embed

        patches = (frames // config.patch[0], grid[0] // 2, grid[1] // 2)
        kind = "slice" if config.patch[0] == 2 else "linspace"
        turns = get_3d_rotary_pos_embed(
            config.head_width,
            ((0, 0), patches[1:]) if kind == "linspace" else None,
            patches[1:],
            patches[0],
            grid_type=kind,
            max_size=(grid[0] // 2, grid[1] // 2),
        )
    expected = transformer(x, text, time, ofs=ofs, image_rotary_emb=turns).sample
    assert torch.allclose(model.transformer(x, text, time, ofs), expected, rtol=1e-4, atol=1e-4)
    pixels = torch.rand(1, 3, 9, 16, 16) * 2 - 1
    mean, _ = model.vae.encode(pixels)
    assert torch.allclose(mean, vae.encode(pixels).latent_dist.mean, rtol=1e-3, atol=1e-3)
    assert torch.allclose(model.vae.decode(mean), vae.decode(mean).sample, rtol=1e-3, atol=1e-3)


@each_member
def test_a_converted_checkpoint_of_sat_computes_what_diffusers_does(member, base, tmp_path):
    transformer, vae = theirs(member)
    config = toy(member)
    folder = in_sat(
        tmp_path / "sat",
        sat_names.transformer(transformer.state_dict(), config.transformer),
        sat_names.vae(vae.state_dict(), config.vae.blocks),
    )
    convert(loose.open_files([folder], base(member), allow_pickle=True), tmp_path / "out")
    assert_same(load(tmp_path / "out"), transformer, vae)
    values = load_file(tmp_path / "out" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert values.keys() == transformer.state_dict().keys()


def test_a_single_file_with_everything_in_it_is_read(base, tmp_path):
    """As a training of SAT saves it, and ComfyUI's tools then store it."""
    transformer, vae = theirs(COGVIDEOX_2B)
    config = toy(COGVIDEOX_2B)
    text = load_file(base(COGVIDEOX_2B) / "text_encoder" / "model.safetensors")
    named = {
        "model.diffusion_model.": sat_names.transformer(transformer.state_dict(), config.transformer),
        "first_stage_model.": sat_names.vae(vae.state_dict(), config.vae.blocks),
        "conditioner.embedders.0.transformer.": text | {"encoder.embed_tokens.weight": text["shared.weight"]},
    }
    tensors = {prefix + name: tensor.clone() for prefix, part in named.items() for name, tensor in part.items()}
    save_file(tensors, tmp_path / "all.safetensors")
    source = loose.open_files([tmp_path / "all.safetensors"], tmp_path / "base")
    assert {part.origin.name for part in (source.transformer, source.vae, source.text)} == {"all.safetensors"}
    convert(source, tmp_path / "out")
    assert_same(load(tmp_path / "out"), transformer, vae)


def test_a_flat_patch_matrix_is_the_convolution_that_it_stands_for(base, tmp_path):
    transformer, vae = theirs(COGVIDEOX_5B)
    config = toy(COGVIDEOX_5B)
    tensors = sat_names.transformer(transformer.state_dict(), config.transformer)
    tensors["mixins.patch_embed.proj.weight"] = tensors["mixins.patch_embed.proj.weight"].flatten(1)
    folder = in_sat(tmp_path / "sat", tensors, sat_names.vae(vae.state_dict(), config.vae.blocks))
    convert(loose.open_files([folder], base(COGVIDEOX_5B), allow_pickle=True), tmp_path / "out")
    assert_same(load(tmp_path / "out"), transformer, vae)


@pytest.fixture
def sat_2b(base, tmp_path):
    """The tensors of a small 2B in SAT's names, and what reads them from a safetensors file."""
    transformer, _ = theirs(COGVIDEOX_2B)
    tensors = sat_names.transformer(transformer.state_dict(), toy(COGVIDEOX_2B).transformer)
    folder = base(COGVIDEOX_2B)

    def opened():
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, tmp_path / "x.safetensors")
        loose.open_files([tmp_path / "x.safetensors"], folder).check()

    return tensors, opened


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda t: t.pop("transformer.layers.1.attention.dense.bias"),
            "transformer_blocks.1.attn1.to_out.0.bias is miss",
        ),
        (lambda t: t.update({"mixins.extra.weight": torch.zeros(2)}), "mixins.extra.weight belongs to no part"),
        (lambda t: t.update({"transformer.layers.0.attention.extra.bias": torch.zeros(2)}), "belongs to no part"),
        (
            lambda t: t.update({"transformer.layers.0.attention.query_key_value.bias": torch.zeros(97)}),
            r"has the shape \(97,\): 3 parts do not fit",
        ),
        (lambda t: t["mixins.pos_embed.pos_embedding"].mul_(2), "is not the table of sines"),
        (
            lambda t: t.update({"mixins.patch_embed.proj.bias": torch.zeros(5)}),
            r"has the shape \(5,\); the config says",
        ),
    ],
    ids=["missing", "unknown", "unknown in a block", "parts", "positions", "shape"],
)
def test_what_does_not_belong_is_refused_by_its_name_in_sat(sat_2b, change, says):
    tensors, opened = sat_2b
    opened()
    change(tensors)
    with pytest.raises(PiyingError, match=says) as caught:
        opened()
    assert "\n" not in str(caught.value)


def test_pickles_are_read_only_where_they_are_allowed(base, tmp_path):
    folder = in_sat(tmp_path / "sat", {"a": torch.zeros(1)}, {"b": torch.zeros(1)})
    with pytest.raises(UsageError, match=r"a pickle, which may run code; .*--allow-pickle"):
        loose.open_files([folder], base(COGVIDEOX_2B))
    with pytest.raises(UsageError, match="a pickle"):
        load(folder / "vae" / "3d-vae.pt")


def test_only_the_latest_state_of_a_training_counts(tmp_path):
    folder = in_sat(tmp_path / "sat", {"a": torch.zeros(1)}, {"b": torch.zeros(1)})
    (folder / "transformer" / "2").mkdir()
    (folder / "transformer" / "latest").write_text("2")
    torch.save({"module": {"newest": torch.zeros(1)}}, folder / "transformer" / "2" / "mp_rank_00_model_states.pt")
    with pytest.raises(PiyingError, match=r"2/mp_rank_00_model_states\.pt: the tensor newest"):
        loose.open_files([folder / "transformer"], allow_pickle=True)
    (folder / "transformer" / "2" / "mp_rank_01_model_states.pt").write_bytes(b"")
    with pytest.raises(PiyingError, match="split over several GPUs"):
        loose.open_files([folder / "transformer"], allow_pickle=True)


def test_the_same_network_twice_is_refused(base, tmp_path):
    config = toy(COGVIDEOX_2B)
    transformer, _ = theirs(COGVIDEOX_2B)
    tensors = sat_names.transformer(transformer.state_dict(), config.transformer)
    for name in ("a", "b"):
        save_file({key: value.contiguous().clone() for key, value in tensors.items()}, tmp_path / f"{name}.safetensors")
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    with pytest.raises(PiyingError, match=r"b\.safetensors: .*a\.safetensors holds the same network"):
        loose.open_files(files, base(COGVIDEOX_2B))


def test_the_precision_of_the_member_is_written(base, tmp_path):
    folder = base(COGVIDEOX_2B)
    half = replace(toy_checkpoint(COGVIDEOX_2B), config=replace(toy(COGVIDEOX_2B), precision="float16"))
    save(half, folder, torch.float32, replaces=True)
    transformer, _ = theirs(COGVIDEOX_2B)
    save_file(dict(transformer.state_dict()), tmp_path / "x.safetensors")
    convert(loose.open_files([tmp_path / "x.safetensors"], folder), tmp_path / "out")
    values = load_file(tmp_path / "out" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in values.values()} == {torch.float16}
    assert torch.equal(values["proj_out.weight"], transformer.proj_out.weight.half())
