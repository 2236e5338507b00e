"""`piying adapters ...` and `piying generate --adapter`: what comes out, and what each bad input is answered with."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from chat_server import completion
from safetensors.torch import load_file, save_file

from piying import video, weights
from piying.adapters import attach, file
from piying.files import digest
from piying.video import read_request


@pytest.fixture
def lora(tiny_model_folder, tmp_path, monkeypatch):
    """ink.safetensors in this folder: for the tiny model, and it does not say its alpha."""
    monkeypatch.setenv("PIYING_HOME", str(tmp_path / "home"))
    transformer = weights.load(tiny_model_folder).transformer
    fitted, dice = (
        attach.fit(transformer, attach.create(transformer, rank=4, alpha=4)),
        torch.Generator().manual_seed(0),
    )
    for parameter in fitted.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=dice)
    file.write(fitted.adapter(), tmp_path / "ink.safetensors")
    save_file(load_file(tmp_path / "ink.safetensors"), tmp_path / "ink.safetensors")
    return tmp_path / "ink.safetensors"


@pytest.fixture
def boat(piying, tiny_model_folder):
    """Makes a video with the tiny model."""
    return lambda *arguments: piying("generate", "a red boat", "--model", tiny_model_folder, "--seed", 1, *arguments)


@pytest.fixture
def frames(monkeypatch):
    """A list that fills with the frames of every video before they are compressed."""
    seen, writing = [], video.writing

    @contextmanager
    def watched(*arguments, **options):
        parts = []
        with writing(*arguments, **options) as write:
            yield lambda part: parts.append(part) or write(part)
        seen.append(np.concatenate(parts))

    monkeypatch.setattr(video, "writing", watched)
    return seen


def test_an_adapter_is_added_listed_described_and_removed(piying, lora, tmp_path):
    assert piying("adapters", "list").out == ""
    added = piying("adapters", "add", lora, "--alpha", 2, "--trigger", "DaWa", "--alias", "大娃=DaWa")
    assert added.out == "added ink: LoRA, rank 4, alpha 2, 8 layers, width 32, listens to DaWa\n" and added.err == ""
    assert piying("adapters", "list").out == "ink: LoRA, rank 4, alpha 2, 8 layers, width 32, listens to DaWa\n"
    told = piying("adapters", "info", "ink")
    assert "alpha: 2\n" in told.out and "aliases: 大娃 -> DaWa\n" in told.out and "triggers: DaWa\n" in told.out
    fact = piying("adapters", "info", "ink", "--json").json
    assert fact == piying("adapters", "list", "--json").json["adapters"]["ink"]
    assert fact["aliases"] == {"大娃": "DaWa"} and fact["alpha_assumed"] is None and fact["blocks"] == 2
    assert lora.is_file()
    assert piying("adapters", "rm", "ink").out == f"removed {tmp_path / 'home' / 'adapters' / 'ink.safetensors'}\n"
    assert piying("adapters", "list", "--json").json == {"adapters": {}}


def test_what_is_assumed_of_alpha_is_said_each_time(piying, lora, boat):
    line = "does not say its alpha; taken is alpha = rank, as diffusers does"
    assert line in piying("adapters", "add", lora).err
    assert "alpha assumed: alpha = rank" in piying("adapters", "info", "ink").out
    assert line in boat("--adapter", "ink").err
    piying("adapters", "add", lora, "--alpha", 2, "--name", "half")
    assert line not in boat("--adapter", "half").err


def test_a_folder_is_added_under_its_own_name(piying, lora, tmp_path):
    (tmp_path / "dawa").mkdir()
    lora.rename(tmp_path / "dawa" / "pytorch_lora_weights.safetensors")
    assert piying("adapters", "add", "dawa").out.startswith("added dawa: ")


def test_a_broken_file_hides_no_other(piying, lora, tmp_path):
    piying("adapters", "add", lora)
    (tmp_path / "home" / "adapters" / "a.safetensors").write_text("broken")
    lines = piying("adapters", "list").out.splitlines()
    assert "not a whole safetensors file" in lines[0] and lines[1].startswith("ink: ")


def test_a_video_carries_its_adapters_and_is_made_again(piying, lora, boat, frames, tmp_path):
    piying("adapters", "add", lora)
    plain, made = boat("--out", "plain.mp4"), boat("--adapter", "ink:0.8", "--out", "ink.mp4", "--json")
    assert plain.code == made.code == 0
    assert made.json["request"]["adapters"] == [
        {"source": "ink", "weight": 0.8, "sha256": digest(tmp_path / "home" / "adapters" / "ink.safetensors")}
    ]
    assert piying("replay", "ink.mp4").code == 0
    assert (frames[0] != frames[1]).any() and (frames[1] == frames[2]).all()
    assert read_request(tmp_path / "ink-replay.mp4") == read_request(tmp_path / "ink.mp4")
    (use,) = made.json["request"]["adapters"]
    assert f"adapter: ink:0.8, SHA-256 {use['sha256']}\n" in piying("inspect", "ink.mp4").out
    assert "adapter:" not in piying("inspect", "plain.mp4").out
    piying("adapters", "rm", "ink")
    gone = piying("replay", "ink.mp4")
    assert gone.code == 3 and "adapter=ink: no such file and no added adapter" in gone.err
    piying("adapters", "add", lora, "--name", "again")
    assert piying("replay", "ink.mp4").code == 0 and (frames[1] == frames[3]).all()
    assert boat("--adapter", "again:0.8", "--merge-adapters", "--json").json["request"]["adapters_merged"] is True


def test_the_trigger_is_hinted_and_an_alias_is_known(piying, lora, boat):
    piying("adapters", "add", lora, "--trigger", "DaWa", "--alias", "kite=DaWa", "--name", "hero")
    assert "hero: listens to DaWa, which the prompt does not say" in boat("--adapter", "hero").err
    arguments = ("--model", boat("--json").json["request"]["model"], "--adapter", "hero")
    heard = piying("generate", "a red kite", *arguments)
    assert heard.code == 0 and "listens" not in heard.err and "never learned" not in heard.err


@pytest.mark.parametrize("naming", ["diffusers", "kohya", "comfyui"])
def test_converted_files_hold_the_same(piying, lora, tmp_path, naming):
    made = piying("adapters", "convert", lora, "out.safetensors", "--to", naming, "--alpha", 2, "--json")
    assert made.code == 0 and made.json["file"] == "out.safetensors" and made.json["alpha"] == [2.0]
    first, again = file.read(lora), file.read(tmp_path / "out.safetensors")
    assert all(torch.equal(layer.down, again.layers[name].down) for name, layer in first.layers.items())
    assert piying("adapters", "convert", lora, "out.safetensors").code == 2


def test_a_pickle_is_converted_on_request_alone(piying, lora, tmp_path):
    torch.save(load_file(lora), tmp_path / "old.bin")
    refused = piying("adapters", "add", "old.bin")
    assert refused.code == 1 and "piying adapters convert old.bin old.safetensors --allow-pickle" in refused.err
    assert piying("adapters", "convert", "old.bin", "old.safetensors").code == 1
    assert piying("adapters", "convert", "old.bin", "old.safetensors", "--allow-pickle").code == 0
    assert piying("adapters", "add", "old.safetensors").code == 0


def test_merged_into_a_model_it_makes_the_same_video(piying, lora, boat, frames, tiny_model_folder):
    made = piying("adapters", "merge", f"{lora}:0.5", "--model", tiny_model_folder, "--out", "merged")
    assert made.code == 0 and "ink.safetensors:0.5" in made.out
    assert "ink.safetensors: the file does not say its alpha; taken is alpha = rank, as diffusers does" in made.err
    boat("--adapter", f"{lora}:0.5", "--merge-adapters")
    piying("generate", "a red boat", "--model", "merged", "--seed", 1)
    boat()
    merged, whole, plain = frames
    assert (merged == whole).all() and (merged != plain).any()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["adapters", "add", "nowhere.safetensors"], 3, "nowhere.safetensors: no such file"),
        (["adapters", "info", "nobody"], 3, "adapter=nobody: no such file and no added adapter"),
        (["adapters", "rm", "nobody"], 3, "adapter=nobody"),
        (["adapters", "add", "ink.safetensors", "--alpha", "0"], 2, "alpha=0.0: use a number above zero"),
        (["adapters", "add", "ink.safetensors", "--alpha", "nan"], 2, "alpha=nan: use a number above zero"),
        (["adapters", "add", "ink.safetensors", "--alias", "大娃"], 2, "alias=大娃: write WORD=NAME"),
        (["adapters", "add", "ink.safetensors", "--name", "a/b"], 2, "name=a/b: use letters"),
        (["adapters", "convert", "ink.safetensors", "out.bin"], 2, "ends in .safetensors"),
        (["adapters", "convert", "ink.safetensors", "out.safetensors", "--to", "flux"], 2, "flux"),
        (["adapters", "merge", "ink.safetensors:much", "--model", "nano", "--out", "m"], 2, "comes a number"),
        (["adapters", "merge", "ink.safetensors", "--model", "nano", "--out", "full"], 2, "out=full: exists already"),
        (["generate", "a boat", "--adapter", "nobody"], 3, "adapter=nobody: no such file and no added adapter"),
        (["generate", "a boat", "--adapter", "ink.safetensors:x"], 2, "after the colon comes a number"),
        (["generate", "a boat", "--adapter", "flux.safetensors"], 1, "this adapter is for Flux"),
        (["generate", "a boat", "--adapter", "cut.safetensors"], 1, "not a whole safetensors file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_one_line_before_any_model_loads(piying, lora, tmp_path, monkeypatch, arguments, code, says):
    layer = "transformer.single_transformer_blocks.0.attn.to_q"
    pair = {f"{layer}.lora_A.weight": torch.ones(4, 32), f"{layer}.lora_B.weight": torch.ones(32, 4)}
    save_file(pair, tmp_path / "flux.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(lora.read_bytes()[:999])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    monkeypatch.setattr("piying.weights.load", None)
    before = sorted(tmp_path.rglob("*"))
    result = piying(*arguments)
    assert result.code == code and says in result.err and "unexpected" not in result.err
    assert len(result.err.splitlines()) == 1 and result.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_an_adapter_for_another_model_is_refused_with_the_file_and_the_reason(piying, lora, boat, tmp_path):
    adapter = file.read(lora)
    layers = {
        name: replace(layer, down=torch.ones(4, 1920), up=torch.ones(1920, 4)) for name, layer in adapter.layers.items()
    }
    file.write(replace(adapter, layers=layers), tmp_path / "wide.safetensors")
    result = boat("--adapter", "wide.safetensors")
    assert result.code == 1
    says = "wide.safetensors: the adapter is for a model of width 1920; this one has 32"
    assert result.err.splitlines()[-1] == f"piying: {says}"
    assert not list(tmp_path.glob("*.mp4"))


@pytest.mark.parametrize(
    ("use", "settled", "another", "merged"),
    [
        ("ink.safetensors:0.5", "ink.safetensors:0.5", "ink.safetensors", []),
        ("ink.safetensors", "ink.safetensors:1", "ink.safetensors:0.8", ["--merge-adapters"]),
    ],
)
def test_a_run_with_an_adapter_goes_on_from_its_saved_state(
    piying, lora, boat, tmp_path, monkeypatch, use, settled, another, merged
):
    assert boat("--adapter", use, *merged, "--steps", 3, "--out", "whole.mp4").code == 0

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    saved = ["--save-every", 2, "--out", "boat.mp4"]
    with monkeypatch.context() as patched:
        patched.setattr("piying.generate.Progress.videos", interrupt)
        assert boat("--adapter", use, *merged, "--steps", 3, *saved).code == 130
    other = piying("generate", "--resume", "boat.resume", "--adapter", another)
    assert other.code == 2 and f"goes on with adapters=['{settled}']; leave it out" in other.err
    styled = piying("generate", "--resume", "boat.resume", "--style", "黑白")
    assert styled.code == 2 and "style=黑白: boat.resume goes on with a prompt that is settled" in styled.err
    assert piying("generate", "--resume", "boat.resume", "--adapter", use).code == 0
    assert (tmp_path / "boat.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


@pytest.fixture
def dawa(official_folder, tmp_path):
    """dawa.safetensors in this folder: 大娃 means DaWa, for a model without Chinese."""
    transformer = weights.load(official_folder).transformer
    fitted = attach.fit(transformer, attach.create(transformer, rank=2, alpha=2))
    file.write(replace(fitted.adapter(), aliases={"大娃": "DaWa"}), tmp_path / "dawa.safetensors")


@pytest.mark.usefixtures("dawa")
def test_an_alias_is_read_as_its_name_by_a_model_without_chinese(piying, official_folder):
    arguments = ["generate", "大娃 rows", "--model", official_folder, "--seed", 1, "--frames", 1]
    assert "cannot read Chinese" in piying(*arguments).err
    made = piying(*arguments, "--adapter", "dawa.safetensors", "--json")
    assert made.code == 0 and made.json["request"]["prompt"] == "大娃 rows" and "Chinese" not in made.err


@pytest.mark.usefixtures("dawa")
def test_an_enhancer_meets_the_names_of_the_adapters(piying, official_folder, server):
    server.body = completion("DaWa on a red boat.")
    options = ["--enhance", "--enhancer", server.address, "--enhancer-model", "writer", "--adapter", "dawa.safetensors"]
    made = piying("generate", "大娃坐红船", "--model", official_folder, "--seed", 1, "--frames", 1, *options, "--json")
    assert made.json["request"]["prompt"] == "DaWa on a red boat." and made.json["request"]["written"] == "大娃坐红船"
    ((_, _, body),) = server.received
    assert body["messages"][1]["content"] == "DaWa 坐红船"
