"""`piying models` and `piying convert`, as a person and as a script use them."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hub_server import Server
from safetensors.torch import load_file, save_file

from piying.config import FAMILY
from piying.files import home
from piying.video import read_frames
from piying.weights import store


@pytest.fixture
def hub(tiny_model_folder, monkeypatch):
    paths = [path for path in tiny_model_folder.rglob("*") if path.is_file()]
    files = {path.relative_to(tiny_model_folder).as_posix(): path.read_bytes() for path in paths}
    server = Server("THUDM/CogVideoX-2b", files)
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    yield server
    server.shutdown()
    server.server_close()


def test_a_model_is_pulled_listed_described_used_and_removed(piying, hub):
    pulled = piying("models", "pull", "cogvideox-2b")
    folder = store.downloads("cogvideox-2b")
    assert (pulled.code, pulled.out) == (0, f"cogvideox-2b: {folder}\n")
    assert "THUDM/CogVideoX-2b from huggingface: 0.00 GB, licence apache-2.0" in pulled.err.splitlines()[0]
    assert "on this machine already" in piying("models", "pull", "zai-org/CogVideoX-2b").err

    here = piying("models", "list", "--json").json["here"]
    entry = {"name": "cogvideox-2b", "kind": "download", "path": str(folder)}
    assert [{key: value for key, value in model.items() if key != "bytes"} for model in here][1:] == [entry]
    assert here[1]["bytes"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert f"cogvideox-2b: download, 0.00 GB, {folder}" in piying("models", "list").out

    told = piying("models", "info", "THUDM/CogVideoX-2b", "--json").json
    counted = sum(t.numel() for t in load_file(folder / "vae" / "diffusion_pytorch_model.safetensors").values())
    assert told["parameters"]["vae"] == counted
    assert (told["name"], told["licence"], told["stored"]) == ("tiny", "apache-2.0", ["float32"])
    assert piying("generate", "a boat", "--model", "cogvideox-2b").code == 0

    kept = piying("models", "rm", "cogvideox-2b")
    assert kept.code == 2 and "say --yes to delete" in kept.err and folder.is_dir()
    assert piying("models", "rm", "cogvideox-2b", "--yes").out == "cogvideox-2b: deleted\n"
    assert not folder.exists() and piying("models", "rm", "cogvideox-2b", "--yes").code == 3


def test_a_broken_pull_is_said_goes_on_and_can_be_removed(piying, hub, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    name = "vae/diffusion_pytorch_model.safetensors"
    hub.breaks[name] = [1000, 0, 0, 0, 0, 0]
    broken = piying("models", "pull", "cogvideox-2b", "--json")
    assert broken.code == 1 and "the same command goes on from here" in broken.json["error"]["message"]
    assert piying("models", "list", "--json").json["here"][1:] == []
    assert "are here from an earlier try" in piying("models", "pull", "cogvideox-2b", "--json").err
    assert piying("models", "rm", "cogvideox-2b", "--yes").code == 0
    hub.breaks[name] = [1000, 0, 0, 0, 0, 0]
    piying("models", "pull", "cogvideox-2b")
    assert piying("models", "rm", "cogvideox-2b", "--yes").code == 0
    assert not list((home() / "models").iterdir())


def test_a_folder_gets_a_name_and_loses_only_that(piying, tiny_model_folder, tmp_path):
    folder = shutil.copytree(tiny_model_folder, tmp_path / "mine")
    assert piying("models", "add", "my-model", "mine", "--json").json["path"] == str(folder)
    again = piying("models", "add", "my-model", "elsewhere")
    assert again.code == 2 and f"means {folder}; `piying models rm my-model` frees it" in again.err
    assert "path: " + str(folder) in piying("models", "info", "my-model").out
    assert piying("models", "rm", "my-model", "--yes").out == "my-model: forgotten\n"
    assert (folder / "model_index.json").is_file()


def test_a_person_at_a_terminal_is_asked(piying, tiny_model_folder, monkeypatch):
    store.add("mine", tiny_model_folder)

    def asked(readline):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True, readline=readline))
        return piying("models", "rm", "mine")

    def interrupt():
        raise KeyboardInterrupt

    for answer in ("n\n", "\n", ""):  # the last is Ctrl-D
        told = asked(lambda answer=answer: answer)
        assert told.code == 2 and "forget mine, and leave" in told.err and "? [y/N]: " in told.err
        assert "piying: mine: kept" in told.err
    told = asked(interrupt)
    assert told.code == 130 and told.err.splitlines()[-1].endswith("piying: interrupted")
    assert set(store.added()) == {"mine"}
    assert asked(lambda: "y\n").code == 0
    assert set(store.added()) == set()


@pytest.mark.parametrize("command", [["add", "mine", "{tiny}"], ["pull", "cogvideox-2b"]], ids=lambda words: words[0])
def test_a_home_that_cannot_be_made_is_one_line(piying, hub, tiny_model_folder, tmp_path, monkeypatch, command):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PIYING_HOME", str(tmp_path / "file" / "home"))
    told = piying("models", *(word.format(tiny=tiny_model_folder) for word in command))
    assert told.code == 1
    assert "cannot be made (Not a directory); set PIYING_HOME elsewhere" in told.err.splitlines()[-1]


def test_what_could_be_pulled_is_listed_with_its_licence(piying):
    told = piying("models", "list", "--json").json
    assert [entry["name"] for entry in told["here"]] == ["nano"]
    assert {entry["name"] for entry in told["could_be_pulled"]} == set(FAMILY) - {"nano"}
    assert "cogvideox-2b: not here, licence Apache-2.0; piying models pull cogvideox-2b" in piying("models", "list").out


@pytest.fixture
def loose_files(tiny_model_folder, tmp_path):
    """The tiny model's transformer as a pickle and as a safetensors file."""
    tensors = {}
    for file in (tiny_model_folder / "transformer").glob("*.safetensors"):
        tensors |= load_file(file)
    torch.save({"module": tensors}, tmp_path / "transformer.pt")
    save_file(tensors, tmp_path / "transformer.safetensors")


@pytest.mark.parametrize("extra", [["transformer.safetensors"], ["transformer.pt", "--allow-pickle"]])
def test_loose_files_become_a_folder(piying, loose_files, tiny_model_folder, tmp_path, extra):
    told = piying("convert", *extra, "--base", tiny_model_folder, "--out", "new", "--json")
    assert told.code == 0, told.err
    assert told.json["model"] == "new" and told.json["from"]["transformer"] == extra[0]
    assert piying("models", "info", "new", "--json").json["name"] == "tiny"
    assert piying("generate", "a boat", "--seed", 1, "--model", "new", "--out", "new.mp4").code == 0
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_a_folder_is_converted_to_eight_bits(piying, tiny_model_folder, kind):
    told = piying("convert", tiny_model_folder, "--to", kind, "--out", "small", "--json")
    assert told.code == 0, told.err
    assert (told.json["weights"], told.json["precision"]) == (kind, "float32")
    assert piying("convert", tiny_model_folder, "--to", kind, "--out", "again").out == (
        f"again: tiny in {kind} and float32\n"
    )
    made = piying("generate", "a boat", "--seed", 1, "--model", "small", "--out", "small.mp4", "--json")
    assert made.json["request"]["weights"] == kind
    on_the_way = ("--model", tiny_model_folder, "--weights", kind)
    assert piying("generate", "a boat", "--seed", 1, *on_the_way, "--out", "way.mp4").code == 0
    assert np.array_equal(read_frames(Path("small.mp4")), read_frames(Path("way.mp4")))
    other = piying("generate", "a boat", "--model", "small", "--weights", "full", "--out", "no.mp4")
    assert other.code == 2 and f"weights=full: small/transformer holds {kind}; leave it out" in other.err


def test_a_folder_of_pickles_is_converted_where_that_is_allowed(piying, tiny_model_folder, tmp_path):
    folder = shutil.copytree(tiny_model_folder, tmp_path / "old")
    for path in folder.rglob("*.safetensors"):
        tensors = list(load_file(path).items())
        name = "pytorch_model" if path.stem == "model" else path.stem
        for part in range(2):  # as large ones are kept
            torch.save(dict(tensors[part::2]), path.with_name(f"{name}-0000{part + 1}-of-00002.bin"))
        path.unlink()
    refused = piying("convert", "old", "--out", "new")
    assert refused.code == 3 and "is a pickle, which may run code" in refused.err
    assert piying("convert", "old", "--allow-pickle", "--out", "new").code == 0
    for path in tiny_model_folder.rglob("*.safetensors"):
        assert (tmp_path / "new" / path.relative_to(tiny_model_folder)).read_bytes() == path.read_bytes()


def test_a_broken_weight_leaves_no_folder(piying, loose_files, tiny_model_folder, tmp_path):
    tensors = load_file(tmp_path / "transformer.safetensors")
    tensors["proj_out.bias"][0] = float("nan")
    save_file(tensors, tmp_path / "transformer.safetensors")
    told = piying("convert", "transformer.safetensors", "--base", tiny_model_folder, "--out", "new")
    assert told.code == 1 and "proj_out.bias holds values that are no finite numbers" in told.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["transformer.pt", "transformer.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (["models"], "command", 2),
        (["models", "info", "nobody"], "known are", 3),
        (["models", "info", "someone/model"], "piying models pull someone/model", 3),
        (["models", "rm", "nobody", "--yes"], "models list", 3),
        (["models", "rm", "nano", "--yes"], "came with piying and stays", 1),
        (["models", "add", "mine", "nowhere"], "no such folder or file", 3),
        (["models", "add", "nano", "{tiny}"], "nano is taken", 2),
        (["models", "add", "mine", "."], "model_index.json: no such file", 3),
        (["models", "pull", "nano"], "on this machine already", 0),
        (["models", "pull", "cogvideo"], "use a member of the family", 2),
        (["models", "pull", "cogvideox-2b", "--from", "ftp"], "huggingface", 2),
        (["convert", "transformer.pt", "--base", "{tiny}", "--out", "new"], "--allow-pickle", 2),
        (["convert", "nowhere", "--out", "new"], "no such file or folder", 3),
        (["convert", "transformer.safetensors", "--out", "new"], "no member of the family", 1),
        (["convert", "{tiny}", "transformer.safetensors", "--out", "new"], "is a whole model", 2),
        (["convert", "{tiny}", "--out", "{tiny}"], "is what is converted", 2),
        (["convert", "transformer.safetensors", "--base", "{tiny}", "--out", "."], "exists already; choose a", 2),
        (["convert", "{tiny}", "--base", "nano", "--out", "new"], "leave --base out", 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant_is_one_line(piying, loose_files, tiny_model_folder, tmp_path, arguments, says, code):
    result = piying(*(str(word).format(tiny=tiny_model_folder) for word in arguments))
    assert result.code == code and says in result.err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["transformer.pt", "transformer.safetensors"]


def test_a_converted_folder_fits_on_the_disk_or_is_refused(piying, loose_files, tiny_model_folder, monkeypatch):
    usage = shutil.disk_usage(tiny_model_folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    told = piying("convert", "transformer.safetensors", "--base", tiny_model_folder, "--out", "new")
    assert told.code == 1 and "GB are needed; make room" in told.err


def test_what_a_download_says_of_itself_is_data(piying, hub):
    piying("models", "pull", "cogvideox-2b")
    record = json.loads((store.downloads("cogvideox-2b") / "pulled.json").read_text())
    assert set(record) == {"hub_id", "revision", "licence", "sha256"} and len(record["sha256"]) == 3
