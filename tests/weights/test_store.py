"""How a name finds a model: what was added, what was pulled, what other tools have downloaded."""

import os
import shutil
from pathlib import Path

import pytest

from piying.errors import ModelMissing, PiyingError, UsageError
from piying.files import home
from piying.weights import load, store


@pytest.fixture
def model(tiny_model_folder):
    """Puts a whole small model somewhere."""
    return lambda place: Path(shutil.copytree(tiny_model_folder, place))


def in_hub_cache(model, repository, commit="c0ffee", *, main=True):
    folder = Path(os.environ["HF_HUB_CACHE"]) / f"models--{repository.replace('/', '--')}"
    snapshot = model(folder / "snapshots" / commit)
    if main:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / "main").write_text(commit)
    return snapshot


@pytest.mark.parametrize("name", ["cogvideox-2b", "THUDM/CogVideoX-2b", "zai-org/CogVideoX-2b", "zai-org/cogvideox-2B"])
@pytest.mark.parametrize("organisation", ["THUDM", "zai-org"])
def test_every_name_of_a_member_finds_it_in_the_cache_of_the_hub(model, name, organisation):
    snapshot = in_hub_cache(model, f"{organisation}/CogVideoX-2b")
    assert store.find(name) == snapshot
    assert store.known(name) == store.Place("cogvideox-2b", "hub cache", snapshot)


def test_what_main_points_to_comes_first_and_what_is_not_whole_never(model):
    for commit in ("aa", "bb", "cc"):
        in_hub_cache(model, "THUDM/CogVideoX-5b", commit, main=commit == "bb")
    assert store.find("cogvideox-5b").name == "bb"
    shutil.rmtree(store.find("cogvideox-5b") / "vae")
    assert store.find("cogvideox-5b").name == "aa"


def test_a_torn_cache_is_said_and_not_used(model):
    snapshot = in_hub_cache(model, "THUDM/CogVideoX-5b")
    (snapshot / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelMissing, match=r"pull cogvideox-5b`; .*c0ffee is not whole: vae/.* is missing"):
        store.find("cogvideox-5b")


def test_hub_variables_are_read_as_the_hub_reads_them(model, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_CACHE")
    for variable, folder in (("HF_HOME", "hf/hub"), ("HUGGINGFACE_HUB_CACHE", "old"), ("HF_HUB_CACHE", "new")):
        monkeypatch.setenv(variable, str(tmp_path / folder.removesuffix("/hub")))
        snapshot = model(tmp_path / folder / "models--me--mine" / "snapshots" / "c0")
        assert store.find("me/mine") == snapshot


def test_what_was_added_comes_before_a_download_and_that_before_the_cache(model, tmp_path):
    snapshot = in_hub_cache(model, "THUDM/CogVideoX-2b")
    assert store.find("cogvideox-2b") == snapshot
    pulled = model(store.downloads("zai-org/CogVideoX-2b"))
    assert store.find("THUDM/CogVideoX-2b") == pulled
    store.add("cogvideox-2b", model(tmp_path / "mine"))
    assert store.find("THUDM/CogVideoX-2b") == tmp_path / "mine"


def test_an_added_name_loads_and_survives_in_the_list(model, tmp_path):
    store.add("我的", model(tmp_path / "mine"))
    assert load("我的").config.name == "tiny"
    assert store.Place("我的", "added", tmp_path / "mine") in store.places()
    shutil.rmtree(tmp_path / "mine")
    with pytest.raises(ModelMissing, match="not there any more; `piying models rm 我的` forgets it"):
        store.find("我的")


def test_forgetting_leaves_the_files_and_removing_a_download_takes_them(model, tmp_path):
    store.add("mine", model(tmp_path / "mine"))
    store.remove(store.Place("mine", "added", tmp_path / "mine"))
    assert store.added() == {} and (tmp_path / "mine" / "model_index.json").is_file()
    pulled = model(store.downloads("cogvideox-2b"))
    store.remove(store.Place("cogvideox-2b", "download", pulled))
    assert not pulled.exists()


def test_what_is_not_ours_is_never_deleted(model):
    snapshot = in_hub_cache(model, "THUDM/CogVideoX-2b")
    for place in store.places():
        with pytest.raises(PiyingError, match=r"belongs to the cache|came with piying"):
            store.remove(place)
    assert {place.kind for place in store.places()} == {"package", "hub cache"} and snapshot.is_dir()


@pytest.mark.parametrize("name", ["cogvideox-1.5-5b", "zai-org/CogVideoX1.5-5B", "someone/fine-tune"])
def test_a_missing_model_names_the_command_that_brings_it(name):
    with pytest.raises(ModelMissing, match=f"run `piying models pull {name}`"):
        store.find(name)


@pytest.mark.parametrize("name", ["nano", "a b", "", "-x", "a/b", "../x"])
def test_a_name_that_cannot_be_one_is_refused(name, tmp_path):
    with pytest.raises(UsageError, match="use letters"):
        store.add(name, tmp_path)


def test_a_folder_is_a_folder_and_a_name_of_the_family_a_name(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = model(tmp_path / "cogvideox-5b")
    model(tmp_path / "THUDM" / "CogVideoX-2b")
    assert store.find("./cogvideox-5b").samefile(folder)
    assert store.find("THUDM/CogVideoX-2b") == Path("THUDM/CogVideoX-2b")
    with pytest.raises(ModelMissing, match="piying models pull cogvideox-5b"):
        store.find("cogvideox-5b")


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}'])
def test_a_broken_list_of_names_is_said(content):
    home().mkdir()
    (home() / "added.json").write_text(content)
    with pytest.raises(PiyingError, match=r"added\.json: not .*; mend or delete it"):
        store.find("anything")
