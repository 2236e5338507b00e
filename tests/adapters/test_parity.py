"""Files of ours in diffusers, files of diffusers, peft and other trainers in ours: the same result within 1e-5."""

from dataclasses import replace

import peft
import pytest
import torch
from diffusers import CogVideoXPipeline
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from piying.adapters import attach, file
from piying.adapters.formats import Naming

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
WIDE = [*ATTENTION, "net.0.proj", "net.2", "norm1.linear", "text_proj", "patch_embed.proj", "linear_1", "proj_out"]


def pipeline(transformer):
    return CogVideoXPipeline(tokenizer=None, text_encoder=None, vae=None, transformer=transformer, scheduler=None)


def add(theirs, **values):
    """An adapter that peft makes in their transformer, with random values."""
    theirs.add_adapter(LoraConfig(**{"r": 4, "lora_alpha": 2, "target_modules": ATTENTION, **values}))
    torch.manual_seed(5)
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            parameter.data += 0.3 * torch.randn_like(parameter)


def made_with(ours, path, run):
    """What ours makes with the adapter of a file, and that adapter."""
    adapter = file.read(path)
    with attach.attached(ours, attach.fit(ours, adapter)):
        return run(ours), adapter


def agree(made, expected, plain):
    assert (made - expected).abs().max() < 1e-5
    assert (plain - expected).abs().max() > 1e-2  # the adapter does something


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
def test_diffusers_loads_what_we_write(ours, theirs, trained, run, tmp_path, dora):
    plain, adapter = run(ours), trained(dora=dora)
    file.write(adapter, tmp_path / "a.safetensors")
    pipeline(theirs).load_lora_weights(tmp_path / "a.safetensors")
    made, again = made_with(ours, tmp_path / "a.safetensors", run)
    assert (again.kind, again.alphas, again.assumed) == ("DoRA" if dora else "LoRA", [2.0], None)
    agree(made, run(theirs), plain)


def test_diffusers_loads_layers_of_different_ranks_and_alphas(ours, theirs, trained, run, tmp_path):
    plain, small, large = run(ours), trained(rank=2, alpha=3.0, targets=("to_q", "ff.net.2")), trained(rank=8, alpha=4)
    file.write(replace(large, layers={**large.layers, **small.layers}), tmp_path / "a.safetensors")
    pipeline(theirs).load_lora_weights(tmp_path / "a.safetensors")
    made, again = made_with(ours, tmp_path / "a.safetensors", run)
    assert (again.ranks, again.alphas) == ([2, 8], [3.0, 4.0])
    agree(made, run(theirs), plain)


def test_several_at_once_with_weights_of_their_own(ours, theirs, trained, run, tmp_path):
    plain, pipe, fitted = run(ours), pipeline(theirs), []
    for seed, weight in ((1, 0.7), (2, -0.4)):
        file.write(trained(seed=seed), tmp_path / f"{seed}.safetensors")
        pipe.load_lora_weights(tmp_path / f"{seed}.safetensors", adapter_name=f"a{seed}")
        fitted.append(attach.fit(ours, file.read(tmp_path / f"{seed}.safetensors")))
        fitted[-1].strengthen(weight)
    pipe.set_adapters(["a1", "a2"], [0.7, -0.4])
    with attach.attached(ours, *fitted):
        agree(run(ours), run(theirs), plain)


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
@pytest.mark.parametrize("told", [True, False], ids=["with alpha", "without alpha"])
def test_we_load_what_the_pipeline_of_diffusers_saves(ours, theirs, run, tmp_path, dora, told):
    plain = run(ours)
    add(theirs, use_dora=dora, lora_alpha=2 if told else 4)
    config = _collate_lora_metadata({"transformer": theirs}) if told else {}
    CogVideoXPipeline.save_lora_weights(tmp_path, get_peft_model_state_dict(theirs), **config)
    made, adapter = made_with(ours, tmp_path, run)
    assert adapter.assumed == (None if told else "alpha = rank, as diffusers does")
    agree(made, run(theirs), plain)


@pytest.mark.parametrize(
    "values",
    [{}, {"use_dora": True, "target_modules": WIDE}, {"target_modules": WIDE, "lora_alpha": 7}],
    ids=["attention", "DoRA everywhere", "LoRA everywhere"],
)
def test_we_load_what_the_transformer_of_diffusers_saves(ours, theirs, run, tmp_path, values):
    plain = run(ours)
    add(theirs, **values)
    theirs.save_lora_adapter(tmp_path)
    agree(made_with(ours, tmp_path, run)[0], run(theirs), plain)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"use_rslora": True},
        {"use_dora": True, "use_rslora": True},
        {"rank_pattern": {"to_q": 2}, "alpha_pattern": {"to_k": 5, "^transformer_blocks.1.attn1.to_v": 3}},
    ],
    ids=["plain", "rank-stabilised", "rank-stabilised DoRA", "patterns"],
)
def test_we_load_the_folder_that_peft_saves(ours, theirs, run, tmp_path, values):
    plain = run(ours)
    config = LoraConfig(**{"r": 4, "lora_alpha": 2, "target_modules": ATTENTION, **values})
    wrapped = peft.get_peft_model(theirs, config)
    torch.manual_seed(5)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data += 0.3 * torch.randn_like(parameter)
    wrapped.save_pretrained(tmp_path)
    made, adapter = made_with(ours, tmp_path, run)
    assert adapter.assumed is None
    agree(made, run(theirs), plain)


def raw(theirs):
    """Every tensor of the adapter with peft's own names: ....lora_A.default.weight"""
    return {name: tensor for name, tensor in theirs.state_dict().items() if "lora_" in name}


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
@pytest.mark.parametrize("prefix", ["", "transformer.", "base_model.model.", "base_model.model.transformer."])
def test_we_load_a_state_dict_with_the_name_of_the_adapter_in_it(ours, theirs, run, tmp_path, dora, prefix):
    plain = run(ours)
    add(theirs, use_dora=dora, lora_alpha=4)
    save_file({prefix + name: tensor for name, tensor in raw(theirs).items()}, tmp_path / "a.safetensors")
    agree(made_with(ours, tmp_path / "a.safetensors", run)[0], run(theirs), plain)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace("lora_A.default", "lora.down").replace("lora_B.default", "lora.up"),
        lambda name: name.replace("lora_A.default", "lora_linear_layer.down").replace(
            "lora_B.default", "lora_linear_layer.up"
        ),
        lambda name: (
            name.replace(".to_out.0.", ".to_out.")
            .replace(".attn1.", ".attn1.processor.")
            .replace(".lora_A.default", "_lora.down")
            .replace(".lora_B.default", "_lora.up")
        ),
    ],
    ids=["lora.down", "lora_linear_layer", "processor"],
)
def test_we_load_the_names_of_older_diffusers(ours, theirs, run, tmp_path, rename):
    plain = run(ours)
    add(theirs, lora_alpha=4)
    tensors = {f"transformer.{rename(name)}": tensor for name, tensor in raw(theirs).items()}
    assert not any("lora_A" in name for name in tensors)
    save_file(tensors, tmp_path / "a.safetensors")
    agree(made_with(ours, tmp_path / "a.safetensors", run)[0], run(theirs), plain)


def fold(theirs, tensors, prefix):
    """How kohya's tools and CogVideoX-Fun add a file to weights: W += alpha / rank * up @ down."""
    modules = {name.replace(".", "_"): module for name, module in theirs.named_modules()}
    for name, up in tensors.items():
        if name.endswith(".lora_up.weight"):
            layer = name.removesuffix(".lora_up.weight")
            scale = tensors[f"{layer}.alpha"].item() / up.shape[1] if f"{layer}.alpha" in tensors else 1.0
            weight = modules[layer.removeprefix(prefix)].weight.data
            weight += scale * (up.flatten(1) @ tensors[f"{layer}.lora_down.weight"].flatten(1)).view(weight.shape)


def test_what_we_write_in_kohyas_names_folds_as_kohya_does(ours, theirs, trained, run, tmp_path):
    plain = run(ours)
    file.write(trained(), tmp_path / "a.safetensors", Naming.kohya)
    tensors = load_file(tmp_path / "a.safetensors")
    assert "lora_unet_transformer_blocks_0_attn1_to_out_0.lora_down.weight" in tensors
    fold(theirs, tensors, "lora_unet_")
    agree(made_with(ours, tmp_path / "a.safetensors", run)[0], run(theirs), plain)


@pytest.mark.parametrize("prefix", ["lora_unet_", "lora_unet__", "lora_transformer_", "lora_", "lycoris_"])
@pytest.mark.parametrize("alpha", [None, 1.0, 3.0])
def test_we_load_kohyas_names(ours, theirs, run, tmp_path, prefix, alpha):
    plain, tensors = run(ours), {}
    for name, module in theirs.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            layer = prefix + name.replace(".", "_")
            rest = module.weight.shape[1:]
            tensors[f"{layer}.lora_down.weight"] = 0.1 * torch.randn(4, *rest)
            tensors[f"{layer}.lora_up.weight"] = 0.1 * torch.randn(len(module.weight), 4, *(1 for _ in rest[1:]))
            if alpha is not None:
                tensors[f"{layer}.alpha"] = torch.tensor(alpha)
    save_file(tensors, tmp_path / "a.safetensors")
    made, adapter = made_with(ours, tmp_path / "a.safetensors", run)
    assert (adapter.assumed is None) == (alpha is not None)
    fold(theirs, tensors, prefix)
    agree(made, run(theirs), plain)


@pytest.mark.parametrize("dora", [False, True], ids=["LoRA", "DoRA"])
@pytest.mark.parametrize("naming", Naming)
def test_every_naming_reads_back_as_it_was(trained, tmp_path, naming, dora):
    adapter = replace(
        trained(dora=dora), base="toy", triggers=("DaWa",), aliases={"大娃": "DaWa"}, assumed="alpha = a guess"
    )
    file.write(adapter, tmp_path / "a.safetensors", naming)
    again = file.read(tmp_path / "a.safetensors")
    assert replace(again, layers={}) == replace(adapter, layers={})
    assert set(again.layers) == set(adapter.layers)
    for name, layer in adapter.layers.items():
        read = again.layers[name]
        assert read.alpha == layer.alpha and torch.equal(read.down, layer.down) and torch.equal(read.up, layer.up)
        assert dora == (read.magnitude is not None) and (not dora or torch.equal(read.magnitude, layer.magnitude))


def test_comfyuis_names_are_those_of_its_loader(trained, tmp_path):
    file.write(trained(dora=True, targets=("to_q",)), tmp_path / "a.safetensors", Naming.comfyui)
    tensors = load_file(tmp_path / "a.safetensors")
    layer = "diffusion_model.transformer_blocks.1.attn1.to_q"
    assert {name for name in tensors if name.startswith(layer)} == {
        f"{layer}.{part}" for part in ("lora_A.weight", "lora_B.weight", "alpha", "dora_scale")
    }
    assert tensors[f"{layer}.dora_scale"].shape == (32, 1) and tensors[f"{layer}.alpha"].shape == ()


def test_a_sat_training_is_read_with_the_alpha_of_sat(ours, theirs, run, tmp_path):
    """SAT adapts q, k and v as three parts of one matrix, at alpha 1, and saves the whole model around them."""
    plain, root, tensors = run(ours), "model.diffusion_model.transformer.layers", {}
    for block, module in enumerate(theirs.transformer_blocks):
        attention = module.attn1
        matrices = {"query_key_value": (attention.to_q, attention.to_k, attention.to_v), "dense": attention.to_out[:1]}
        for group, members in matrices.items():
            for index, linear in enumerate(members):
                down, up = torch.randn(4, 32), 0.3 * torch.randn(32, 4)
                linear.weight.data += up @ down / 4
                tensors[f"{root}.{block}.attention.{group}.matrix_A.{index}"] = down
                tensors[f"{root}.{block}.attention.{group}.matrix_B.{index}"] = up
    torch.save({"module": {**tensors, f"{root}.0.mlp.weight": torch.zeros(2)}}, tmp_path / "a.pt")
    adapter = file.read_pickle(tmp_path / "a.pt")
    assert adapter.assumed == "alpha = 1, the default of SAT's trainer"
    with attach.attached(ours, attach.fit(ours, adapter)):
        agree(run(ours), run(theirs), plain)
