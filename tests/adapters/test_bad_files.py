"""Every file that is no adapter for this model: one clear line, and nothing happens."""

import json
import os
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from piying.adapters import attach, file
from piying.config import COGVIDEOX_15_5B
from piying.errors import ModelMissing, PiyingError, UsageError
from piying.models.transformer import Transformer

Q = "transformer.transformer_blocks.0.attn1.to_q"
PAIR = {f"{Q}.lora_A.weight": torch.ones(4, 32), f"{Q}.lora_B.weight": torch.ones(32, 4)}


def flux(layer, down="lora_A.weight", up="lora_B.weight"):
    return {f"{layer}.{down}": torch.ones(4, 32), f"{layer}.{up}": torch.ones(32, 4)}


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({}, "holds no adapter"),
        ({"a": torch.ones(2)}, "a is no tensor of a LoRA"),
        ({f"{Q}.lora_A.weight": torch.ones(4, 32)}, "half a pair, B (up) is missing"),
        ({f"{Q}.lora_B.weight": torch.ones(4, 32)}, "half a pair, A (down) is missing"),
        ({**PAIR, f"{Q}.lora_B.weight": torch.ones(32, 8)}, "the ranks of transformer_blocks.0.attn1.to_q disagree, A"),
        ({**PAIR, f"{Q}.lora_B.weight": torch.ones(32)}, "which make no LoRA"),
        ({**PAIR, f"{Q}.lora_A.weight": torch.full((4, 32), torch.nan)}, "values that are no finite numbers"),
        ({**PAIR, f"{Q}.lora_B.weight": torch.full((32, 4), torch.inf)}, "values that are no finite numbers"),
        ({**PAIR, f"{Q}.alpha": torch.ones(2)}, "is not one number"),
        ({**PAIR, f"{Q}.dora_scale": torch.ones(1, 32)}, "one for each of the 32 outputs"),
        ({**PAIR, f"{Q}.lora_magnitude_vector": torch.ones(7)}, "one for each of the 32 outputs"),
        (
            {**PAIR, **{key.replace("lora_A", "lora_A.b"): value.clone() for key, value in PAIR.items()}},
            "two tensors for",
        ),
        ({**PAIR, f"{Q}.lora_B.bias": torch.ones(32)}, "a LoRA with biases"),
        ({f"{Q}.hada_w1_a": torch.ones(4, 4)}, "belongs to LoHa"),
        ({f"{Q}.lokr_w1": torch.ones(4, 4)}, "belongs to LoKr"),
        ({f"{Q}.diff": torch.ones(4, 4)}, "whole differences"),
        (flux("transformer.single_transformer_blocks.3.attn.to_q"), "this adapter is for Flux"),
        (flux("lora_unet_double_blocks_0_img_attn_qkv", "lora_down.weight", "lora_up.weight"), "is for Flux"),
        (
            flux("lora_unet_down_blocks_0_attentions_0_proj_in", "lora_down.weight", "lora_up.weight"),
            "Stable Diffusion",
        ),
        (flux("diffusion_model.blocks.0.self_attn.q"), "Wan"),
        (flux("transformer.transformer_blocks.0.attn2.to_q"), "cross-attention"),
        (flux("transformer.transformer_blocks.0.attn1.to_x"), "to_x is no layer of CogVideoX"),
        ({**PAIR, **flux("text_encoder.encoder.block.0.layer.0.SelfAttention.q")}, "changes the text encoder"),
        ({**PAIR, **flux("lora_te_encoder_block_0", "lora_down.weight", "lora_up.weight")}, "changes the text encoder"),
    ],
)
def test_tensors_that_are_no_lora_of_the_family(tmp_path, tensors, says):
    path = tmp_path / "a.safetensors"
    save_file(tensors, path)
    with pytest.raises(PiyingError) as refused:
        file.read(path)
    assert str(refused.value).startswith(f"{path}: ") and says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"lora_adapter_metadata": "{"}, "is not JSON"),
        ({"lora_adapter_metadata": "[]"}, "is not a JSON object"),
        ({"lora_adapter_metadata": '{"transformer.lora_alpha": "many"}'}, "lora_alpha='many': a number is needed"),
        ({"lora_adapter_metadata": '{"lora_alpha": 1, "alpha_pattern": {"(a+)+": 1}}'}, "is a regular expression"),
        ({"lora_adapter_metadata": '{"lora_alpha": 1, "alpha_pattern": [1]}'}, "names with numbers are needed"),
        ({"ss_network_alpha": "nan"}, "ss_network_alpha=nan: a number is needed"),
        ({"piying": "{}"}, "what it says of itself cannot be read"),
        (
            {"piying": json.dumps({"base": 1, "base_sha256": "", "triggers": [], "aliases": {}, "assumed": ""})},
            "itself",
        ),
    ],
)
def test_metadata_that_cannot_be_read(tmp_path, metadata, says):
    save_file(PAIR, tmp_path / "a.safetensors", metadata)
    with pytest.raises(PiyingError, match=r"a\.safetensors") as refused:
        file.read(tmp_path / "a.safetensors")
    assert says in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("metadata", "alpha", "assumed"),
    [
        ({}, 4.0, "alpha = rank, as diffusers does"),
        ({"ss_network_alpha": "16.0"}, 16.0, None),
        ({"ss_network_alpha": "Dynamic", "lora_alpha": "2"}, 2.0, None),
        ({"alpha": "3"}, 3.0, None),
        ({"lora_adapter_metadata": '{"transformer.r": 4, "transformer.lora_alpha": 8}'}, 8.0, None),
        ({"lora_adapter_metadata": '{"transformer.r": 4}'}, 4.0, "alpha = rank, as diffusers does"),
    ],
)
def test_alpha_is_found_where_a_file_says_it(tmp_path, metadata, alpha, assumed):
    save_file(PAIR, tmp_path / "a.safetensors", metadata)
    adapter = file.read(tmp_path / "a.safetensors")
    assert (adapter.alphas, adapter.assumed) == ([alpha], assumed)
    said = file.with_alpha(adapter, 64.0)
    assert (said.alphas, said.assumed) == ([64.0], None)


def test_the_trigger_of_a_model_spec_is_read(tmp_path):
    save_file(PAIR, tmp_path / "a.safetensors", {"modelspec.trigger_phrase": "ohwx man"})
    assert file.read(tmp_path / "a.safetensors").triggers == ("ohwx man",)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_an_alpha_in_whole_numbers_and_weights_in_eight_bits(tmp_path, suffix):
    tensors = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in PAIR.items()}
    module = next(iter(PAIR)).split(".lora")[0]
    path = tmp_path / f"a{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(tensors | {f"{module}.alpha": torch.tensor(2)}, path)
    adapter = (file.read if suffix == ".safetensors" else file.read_pickle)(path)
    assert adapter.alphas == [2.0] and adapter.layers.popitem()[1].down.dtype == torch.float8_e4m3fn


def test_a_file_that_is_cut_off_or_something_else(tmp_path):
    save_file(PAIR, tmp_path / "whole.safetensors")
    content = (tmp_path / "whole.safetensors").read_bytes()
    huge = (100 * 2**20).to_bytes(8, "little") + b"{" * 100
    for name, part in (
        ("cut", content[:-5]),
        ("head", content[:30]),
        ("empty", b""),
        ("text", b"x" * 99),
        ("huge", huge),
    ):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(part)
        with pytest.raises(PiyingError, match="not a whole safetensors file"):
            file.read(path)


class Attack:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt"])
def test_a_pickle_is_refused_and_read_on_request_without_running_it(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    torch.save(PAIR, path)
    with pytest.raises(PiyingError, match=r"a pickle, which may run code .*--allow-pickle"):
        file.read(path)
    assert file.read_pickle(path).ranks == [4]
    path.write_bytes(pickle.dumps({"a": Attack(tmp_path / "ran")}))
    with pytest.raises(PiyingError, match="is no data and was not run"):
        file.read_pickle(path)
    assert not (tmp_path / "ran").exists()
    torch.save([1, 2], path)
    with pytest.raises(PiyingError, match="holds no weights by name"):
        file.read_pickle(path)


def test_folders_with_none_or_several(tmp_path):
    with pytest.raises(ModelMissing, match="no adapter in this folder"):
        file.read(tmp_path)
    save_file(PAIR, tmp_path / "a.safetensors")
    assert file.read(tmp_path).ranks == [4]
    save_file(PAIR, tmp_path / "b.safetensors")
    with pytest.raises(UsageError, match=r"several adapters .a.safetensors, b.safetensors."):
        file.read(tmp_path)
    with pytest.raises(ModelMissing, match="no such file"):
        file.read(tmp_path / "c.safetensors")


def test_writing_is_whole_or_not_at_all_and_the_same_bytes(tmp_path, trained):
    adapter = replace(trained(), triggers=("DaWa",))
    contents = set()
    for _ in range(8):
        file.write(adapter, tmp_path / "a.safetensors")
        contents.add((tmp_path / "a.safetensors").read_bytes())
    assert len(contents) == 1
    with pytest.raises(UsageError, match=r"ends in .safetensors"):
        file.write(adapter, tmp_path / "a.bin")
    with pytest.raises(PiyingError, match="cannot be written"):
        file.write(adapter, tmp_path / "nowhere" / "a.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(PiyingError, match="cannot be written"):
        file.write(adapter, tmp_path / "folder.safetensors")
    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors", "folder.safetensors"}


def test_an_adapter_for_another_base_is_refused_with_the_reason(ours, trained):
    wide = Transformer(replace(ours.config, heads=3))
    short = Transformer(replace(ours.config, layers=1))
    other_patch = Transformer(replace(ours.config, patch=COGVIDEOX_15_5B.transformer.patch))
    for model, targets, says in (
        (wide, attach.ATTENTION, "is for a model of width 32; this one has 48"),
        (wide, ("proj_out",), "changes proj_out in the shape"),
        (short, attach.ATTENTION, "is for 2 blocks or more; this model has 1"),
        (other_patch, ("proj_out", "to_q"), r"changes proj_out in the shape \(64, 32\); this model has \(128, 32\)"),
        (other_patch, ("patch_embed.proj",), "changes patch_embed.proj in the shape"),
    ):
        with pytest.raises(PiyingError, match=says):
            attach.fit(model, trained(targets=targets))
    layer = trained().layers["time_embedding.linear_1"]
    adapter = replace(trained(), layers={"ofs_embedding.linear_1": layer})
    with pytest.raises(PiyingError, match=r"changes ofs_embedding\.linear_1, which this model does not have"):
        attach.fit(ours, adapter)
