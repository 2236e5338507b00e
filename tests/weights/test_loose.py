"""Single files: which network they hold, of which member, and where the rest comes from."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from toys import toy, toy_checkpoint

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B_I2V, FAMILY
from piying.errors import ModelMissing, PiyingError, UsageError
from piying.models.transformer import Transformer
from piying.weights import load, loose, save, store
from piying.weights.safe import Stored
from piying.weights.source import Part


def outline(config) -> Part:
    """The transformer of a configuration as headers alone."""
    with torch.device("meta"):
        values = Transformer(config).state_dict()
    path = Path("x.safetensors")
    return Part({n: Stored(path, n, tuple(t.shape), torch.bfloat16, t.detach) for n, t in values.items()}, path)


@pytest.mark.parametrize("member", FAMILY.values(), ids=lambda member: member.name)
def test_every_member_is_known_by_the_shapes_of_its_transformer(member):
    assert loose.recognise(outline(member.transformer)) == member


def test_another_shape_is_no_member():
    with pytest.raises(PiyingError, match=r"3 layers of width 1920, 64 values in a patch: no member .* --base"):
        loose.recognise(outline(replace(COGVIDEOX_2B.transformer, layers=3)))


@pytest.fixture
def member(tmp_path, monkeypatch):
    """A small member of the family on this machine, and its checkpoint."""
    config = replace(toy(COGVIDEOX_5B_I2V), name="toy", hub="THUDM/Toy")
    checkpoint = replace(toy_checkpoint(COGVIDEOX_5B_I2V), config=config)
    monkeypatch.setitem(FAMILY, "toy", config)
    save(checkpoint, tmp_path / "toy", torch.float32)
    store.add("toy", tmp_path / "toy")
    return checkpoint


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "transformer."])
def test_a_transformer_alone_takes_the_rest_from_its_member(member, tmp_path, prefix):
    tuned = {f"{prefix}{name}": tensor + 1 for name, tensor in member.transformer.state_dict().items()}
    save_file(tuned, tmp_path / "tuned.safetensors")
    model = load(tmp_path / "tuned.safetensors")
    assert torch.equal(model.transformer.proj_out.weight, member.transformer.proj_out.weight + 1)
    assert torch.equal(model.vae.decoder.conv_out.conv.weight, member.vae.decoder.conv_out.conv.weight)
    assert model.config == member.config and model.tokenizer(["a red"], 4).tolist() == [[3, 4, 1, 0]]


def test_weights_in_eight_bits_are_read_as_what_they_stand_for(member, tmp_path):
    """As ComfyUI's smaller files are: matrices in float8, the rest in half precision."""
    state = member.transformer.state_dict()
    small = {name: t.to(torch.float8_e4m3fn) if t.ndim == 2 else t.half() for name, t in state.items()}
    save_file(small, tmp_path / "x.safetensors")
    model = load(tmp_path / "x.safetensors")
    assert torch.equal(model.transformer.proj_out.weight, small["proj_out.weight"].float())


def test_what_no_file_gives_and_no_model_has_is_named(member, tmp_path):
    save_file(dict(member.transformer.state_dict()), tmp_path / "x.safetensors")
    store.remove(store.Place("toy", "added", tmp_path / "toy"))
    says = "the autoencoder and the text encoder and the tokenizer must come from another model"
    with pytest.raises(ModelMissing, match=says):
        load(tmp_path / "x.safetensors")


def test_an_autoencoder_alone_wants_a_model_beside_it(member, tmp_path):
    save_file(dict(member.vae.state_dict()), tmp_path / "vae.safetensors")
    with pytest.raises(UsageError, match=r"no transformer is in the files; name the model .* --base"):
        load(tmp_path / "vae.safetensors")
    source = loose.open_files([tmp_path / "vae.safetensors"], "toy")
    assert source.vae.origin.name == "vae.safetensors" and source.transformer.origin == tmp_path / "toy" / "transformer"


def test_whole_t5_files_serve_without_their_decoder(member, tmp_path):
    text = load_file(tmp_path / "toy" / "text_encoder" / "model.safetensors")
    embedding = text.pop("shared.weight")
    others = {name: embedding.clone() for name in ("decoder.block.0.x", "lm_head.weight")}
    save_file(text | others | {"encoder.embed_tokens.weight": embedding}, tmp_path / "t5.safetensors")
    source = loose.open_files([tmp_path / "t5.safetensors"], "toy")
    source.check()
    assert source.text.tensors["shared.weight"].name == "encoder.embed_tokens.weight"


def test_a_folder_of_shards_with_its_tokenizer_is_one_network(member, tmp_path):
    """As the folder of T5 that SAT's manual asks for."""
    save(member, tmp_path / "sharded", torch.float32, shard_bytes=5000)
    folder = tmp_path / "sharded" / "text_encoder"
    (tmp_path / "sharded" / "tokenizer" / "tokenizer.json").rename(folder / "tokenizer.json")
    source = loose.open_files([folder], "toy")
    source.check()
    assert source.text.origin == source.tokenizer == folder


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"unet.weight": torch.zeros(1)}, "unet.weight belongs to no part of a CogVideoX model"),
        ({"patch_embed.text_proj.weight": torch.zeros(1)}, "not a whole transformer"),
        ({}, "no weights of the CogVideoX family"),
    ],
)
def test_a_foreign_file_is_refused(tmp_path, tensors, says):
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(PiyingError, match=says):
        load(tmp_path / "x.safetensors")


def test_a_file_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(ModelMissing, match="no such file or folder"):
        loose.open_files([tmp_path / "x.safetensors"])
