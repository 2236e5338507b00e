"""A checkpoint on disk: ours and diffusers read the same, and what is broken is said in one line."""

import json
import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXImageToVideoPipeline, CogVideoXTransformer3DModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Pieces
from tokenizers import models
from transformers import T5EncoderModel

from piying.config import NANO, TextConfig, VAEConfig
from piying.errors import ModelMissing, PiyingError, UsageError
from piying.models import initial
from piying.models.text import Tokenizer
from piying.weights import Checkpoint, load, save, store

TOY = replace(
    NANO,
    name="toy",
    fps=12,
    guidance=3.5,
    size=(64, 96),
    transformer=replace(
        NANO.transformer, layers=1, heads=2, head_width=16, text_width=16, time_width=8, latent_size=(8, 12)
    ),
    vae=VAEConfig(channels=(4, 4, 8, 8), blocks=1, groups=2, latent_scale=0.9, image_latent_scale=0.9),
    text=TextConfig(vocabulary=12, width=16, layers=2, heads=2, head_width=8, ff_width=24),
)
WORDS = {"en": ["boat"], "zh": ["船"]}


@pytest.fixture(scope="module")
def toy():
    parts = (
        initial.transformer(TOY.transformer, seed=0),
        initial.vae(TOY.vae, seed=1),
        initial.text(TOY.text, seed=2),
    )
    torch.manual_seed(3)
    for part in parts:
        for parameter in part.parameters():  # the start of a training is zero in places; nothing may be zero here
            torch.nn.init.normal_(parameter, std=0.3)
    vocabulary = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", "boat"])}
    tokenizer = Tokenizer.from_json(Pieces(models.WordLevel(vocabulary, unk_token="<unk>")).to_str())
    return Checkpoint(TOY, *parts, tokenizer, WORDS)


@pytest.fixture
def folder(toy, tmp_path):
    save(toy, tmp_path / "toy", torch.float32)
    return tmp_path / "toy"


def modules(model):
    return (model.transformer, model.vae, model.text)


def test_what_is_saved_is_loaded_again(toy, folder):
    again = load(folder)
    assert (again.config, again.words) == (TOY, WORDS)
    for ours, theirs in zip(modules(again), modules(toy), strict=True):
        values = theirs.state_dict()
        assert all(torch.equal(tensor, values[name]) for name, tensor in ours.state_dict().items())
        assert not ours.training and not any(parameter.requires_grad for parameter in ours.parameters())
    assert again.tokenizer(["boat"], 3).tolist() == [[3, 1, 0]]


@torch.no_grad()
def test_diffusers_and_transformers_read_the_folder_and_agree(toy, folder):
    transformer = CogVideoXTransformer3DModel.from_pretrained(folder, subfolder="transformer")
    vae = AutoencoderKLCogVideoX.from_pretrained(folder, subfolder="vae")
    text = T5EncoderModel.from_pretrained(folder, subfolder="text_encoder")
    tokens, pixels = torch.tensor([[3, 1, 0]]), torch.randn(1, 3, 9, 16, 16)
    states = text(tokens).last_hidden_state
    assert torch.allclose(toy.text(tokens), states, rtol=1e-4, atol=1e-5)
    mean, _ = toy.vae.encode(pixels)
    assert torch.allclose(mean, vae.encode(pixels).latent_dist.mean, rtol=1e-4, atol=1e-4)
    assert torch.allclose(toy.vae.decode(mean), vae.decode(mean).sample, rtol=1e-4, atol=1e-4)
    assert transformer.config.in_channels == 32 and vae.config.scaling_factor == 0.9
    values = transformer.state_dict()
    assert all(torch.equal(tensor, values[name]) for name, tensor in toy.transformer.state_dict().items())


def test_the_whole_folder_is_a_pipeline_of_diffusers(toy, folder):
    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(folder)
    ids = pipeline.tokenizer(["boat", "kite"], padding="max_length", max_length=4, return_tensors="pt").input_ids
    assert ids[:, 0].tolist() == [3, 2]
    assert pipeline.scheduler.config.snr_shift_scale == 1.0
    assert type(pipeline.scheduler).__name__ == "CogVideoXDPMScheduler"


def test_large_parts_are_saved_in_shards_that_read_the_same(toy, tmp_path):
    save(toy, tmp_path / "sharded", torch.bfloat16, shard_bytes=20_000)
    files = sorted((tmp_path / "sharded" / "transformer").glob("*.safetensors"))
    assert len(files) > 2 and all(file.stat().st_size < 30_000 for file in files)
    again = load(tmp_path / "sharded")
    values = toy.vae.state_dict()
    assert all(torch.equal(tensor, values[name].bfloat16().float()) for name, tensor in again.vae.state_dict().items())
    theirs = CogVideoXTransformer3DModel.from_pretrained(tmp_path / "sharded", subfolder="transformer")
    assert torch.equal(theirs.proj_out.weight.float(), again.transformer.proj_out.weight)


def test_half_precision_keeps_the_sensitive_matrices_of_the_text_encoder_whole(folder):
    half = load(folder, dtype=torch.float16)
    assert half.text.blocks[0].ff.out.weight.dtype == torch.float32
    assert half.text.blocks[0].ff.gate.weight.dtype == torch.float16
    assert half.transformer.proj_out.weight.dtype == torch.float16


def test_saving_replaces_a_model_where_asked_and_nothing_else(toy, folder, tmp_path):
    (folder / "transformer" / "old.txt").write_text("")
    with pytest.raises(UsageError, match="toy: exists already; choose a new folder"):
        save(toy, folder)
    assert (folder / "transformer" / "old.txt").exists()
    save(toy, folder, replaces=True)
    assert not (folder / "transformer" / "old.txt").exists()
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="letters: exists already; choose a new folder"):
        save(toy, tmp_path / "letters", replaces=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letters", "toy"]


def test_saving_where_nothing_can_be_written_is_one_line_and_leaves_nothing(toy, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PiyingError, match="cannot be written"):
        save(toy, tmp_path / "file" / "model")


def test_a_full_disk_is_one_line_and_leaves_what_was_there(toy, folder):
    before = (folder / "piying.json").read_text("utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(PiyingError, match="cannot be written") as caught:
            save(replace(toy, config=replace(TOY, fps=99)), folder, replaces=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert (folder / "piying.json").read_text("utf-8") == before
    assert [path.name for path in folder.parent.iterdir()] == ["toy"]


def test_saving_asks_for_room_and_writes_large_files(toy, tmp_path, monkeypatch):
    save(toy, tmp_path / "toy", torch.float32)
    weights = [path for path in (tmp_path / "toy").rglob("*.safetensors")]
    assert sorted(path.parent.name for path in weights) == ["text_encoder", "transformer", "vae"]
    numbers = sum(
        tensor.numel() for part in (toy.transformer, toy.vae, toy.text) for tensor in part.state_dict().values()
    )
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 4 * numbers - 1))
    save(toy, tmp_path / "half", torch.bfloat16)
    with pytest.raises(PiyingError, match=r"more: 0\.0 GB free there, 0\.0 GB are needed; make room"):
        save(toy, tmp_path / "more", torch.float32)


def test_an_empty_folder_that_one_stands_in_takes_a_model(toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(toy, Path("."))
    assert load(tmp_path).config == toy.config


def test_the_spacing_of_a_schedule_is_the_samplers_and_not_asked_for(folder):
    path = folder / "scheduler" / "scheduler_config.json"
    values = json.loads(path.read_text("utf-8"))
    assert values["timestep_spacing"] == "trailing"
    path.write_text(json.dumps(values | {"timestep_spacing": "linspace"}))
    assert load(folder).config.schedule == TOY.schedule


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ModelMissing, match=r"nanoo: no such folder .* cogvideox-2b, .* nano"):
        load("nanoo")


def test_nano_without_its_weights_says_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setattr(store, "NANO", tmp_path / "nano")
    with pytest.raises(ModelMissing, match="not in this installation; train them"):
        load("nano")


def test_a_published_name_says_what_to_download():
    with pytest.raises(ModelMissing, match="not on this machine; run `piying models pull cogvideox-5b`"):
        load("cogvideox-5b")


MISSING = [
    "model_index.json",
    "transformer/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
]


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelMissing, match=name.split("/")[-1].replace(".", r"\.")):
        load(folder)


def rewrite(path, change):
    values = json.loads(path.read_text("utf-8"))
    change(values)
    path.write_text(json.dumps(values), "utf-8")


FOREIGN = [
    ("model_index.json", "_class_name", "StableDiffusionPipeline"),
    ("transformer/config.json", "_class_name", "WanTransformer3DModel"),
    ("transformer/config.json", "norm_eps", 1e-3),
    ("vae/config.json", "use_quant_conv", True),
    ("text_encoder/config.json", "feed_forward_proj", "relu"),
    ("scheduler/scheduler_config.json", "_class_name", "EulerDiscreteScheduler"),
    ("scheduler/scheduler_config.json", "prediction_type", "epsilon"),
    ("transformer/config.json", "num_layers", "many"),
    ("transformer/config.json", "num_layers", 2.5),
    ("transformer/config.json", "sample_width", None),
    ("vae/config.json", "scaling_factor", True),
    ("vae/config.json", "block_out_channels", [4, 4, 8, 9]),
    ("vae/config.json", "block_out_channels", [1, 2]),
    ("piying.json", "fps", "fast"),
    ("piying.json", "sampler", "magic"),
    ("piying.json", "size", [1]),
]


@pytest.mark.parametrize(("name", "key", "value"), FOREIGN)
def test_a_foreign_or_broken_config_is_refused_by_name(folder, name, key, value):
    rewrite(folder / name, lambda values: values.update({key: value}))
    with pytest.raises(PiyingError) as caught:
        load(folder)
    line = str(caught.value)
    assert str(value) in line and "\n" not in line


def test_a_config_that_is_not_json_is_refused(folder):
    (folder / "vae" / "config.json").write_text("{")
    with pytest.raises(PiyingError, match=r"vae/config\.json: not JSON"):
        load(folder)


def edit_tensors(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


TENSORS = [
    (lambda tensors: tensors.pop("proj_out.bias"), "the tensor proj_out.bias is missing"),
    (lambda tensors: tensors.update(extra=torch.zeros(1)), "the tensor extra belongs to no part"),
    (lambda tensors: tensors.update({"proj_out.bias": torch.zeros(3)}), r"proj_out.bias has the shape \(3,\)"),
    (lambda tensors: tensors["proj_out.bias"].fill_(float("nan")), "proj_out.bias holds values that are no finite"),
    (lambda tensors: tensors["proj_out.bias"].fill_(float("inf")), "proj_out.bias holds values that are no finite"),
    (lambda tensors: tensors.update({"proj_out.bias": torch.zeros(64, dtype=torch.int64)}), "no finite numbers"),
]


@pytest.mark.parametrize(("change", "line"), TENSORS, ids=[line for _, line in TENSORS])
def test_a_wrong_tensor_is_named_with_its_file(folder, change, line):
    edit_tensors(folder / "transformer" / "diffusion_pytorch_model.safetensors", change)
    with pytest.raises(PiyingError, match=f"transformer.*{line}"):
        load(folder)


BYTES = [
    lambda content: content[:-100],
    lambda content: content[:5],
    lambda content: b"",
    lambda content: (2**40).to_bytes(8, "little") + content[8:],  # a header of a terabyte
]


@pytest.mark.parametrize("change", BYTES)
def test_a_broken_weights_file_is_one_clear_line(folder, change):
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(PiyingError, match="not a whole safetensors file") as caught:
        load(folder)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_shard_is_named_and_one_outside_the_folder_refused(toy, tmp_path):
    save(toy, tmp_path / "sharded", shard_bytes=20_000)
    part = tmp_path / "sharded" / "transformer"
    shard = sorted(part.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ModelMissing, match=f"{shard.name} is missing"):
        load(tmp_path / "sharded")
    index = part / "diffusion_pytorch_model.safetensors.index.json"
    rewrite(index, lambda values: values["weight_map"].update({"proj_out.bias": "../../../elsewhere.safetensors"}))
    with pytest.raises(PiyingError, match="outside its own folder"):
        load(tmp_path / "sharded")


def test_files_carry_the_mark_that_transformers_wants(folder):
    with safe_open(folder / "text_encoder" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
