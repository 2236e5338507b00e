"""`piying report` on a run that `piying train` left, with a random model and a random vision model."""

import json

import pytest
import torch
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model


@pytest.fixture
def drawn(piying, tmp_path):
    """Clips of DaWa and ErWa in ds, of which 9 frames of 32x48 are used."""
    piying("theatre", "clips", "dawa", "erwa", "--count", 3, "--out", "ds")
    lines = (tmp_path / "ds" / "clips.jsonl").read_text("utf-8")
    small = lines.replace('"frames": 49', '"frames": 9').replace('"size": [96, 144]', '"size": [32, 48]')
    (tmp_path / "ds" / "clips.jsonl").write_text(small, "utf-8")


@pytest.fixture
def run(piying, drawn, tiny_model_folder):
    """A run with two adapters on them."""
    values = ("steps=2", "rank=2", "alpha=2.0", "preserve=0.0", "held_out=0.3", "sheet_every=1")
    trained = piying("train", "ds", "--model", tiny_model_folder, *(word for v in values for word in ("--set", v)))
    assert trained.code == 0, trained.err
    return "runs/ds"


@pytest.fixture
def embedder(tmp_path):
    torch.manual_seed(0)
    folder, shape = tmp_path / "dino", {"image_size": 28, "patch_size": 14}
    network = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, **shape)
    Dinov2Model(network).save_pretrained(folder)
    BitImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(folder)
    return folder


def test_a_run_on_footage_is_reported_and_its_best_adapter_can_be_added(
    piying, run, embedder, tiny_model_folder, tmp_path
):
    split = json.loads((tmp_path / run / "clips.json").read_text())
    assert len(split["learned"]) + len(split["held_out"]) == 6 and split["held_out"]
    blind = piying("report", run, "--model", tiny_model_folder)
    assert blind.code == 2 and blind.err.splitlines()[-1].endswith("name a vision model's folder with --embedder")
    small = ("--prompts", 2, "--seeds", 1, "--model", tiny_model_folder, "--embedder", embedder, "--all")
    done = piying("report", run, *small, "--json")
    assert done.code == 0, done.err
    names = {row["promise"]["name"] for row in done.json["measures"]}
    assert "the one that was named is there, and it is that one" in names
    assert "style: place among real clips that were held out" in names
    assert any(name.startswith("copies: ") for name in names)
    assert set(done.json["scales"]) == {"dawa", "erwa"}
    for scale in done.json["scales"].values():
        assert 0 <= scale["auc"] <= 1 and scale["same"] and scale["different"]
    assert {"report.html", "samples.png"} <= {path.name for path in (tmp_path / run / "report").iterdir()}
    assert done.json["chosen"]["best"] in ("00000001", "00000002")
    again = piying("report", run, *small)
    assert again.code == 0 and again.out.splitlines()[-1] == "runs/ds/report/report.html"
    assert again.out.splitlines()[:-1] == done.json["verdict"]
    added = piying("adapters", "add", f"{run}/best", "--name", "mine")
    assert added.code == 0 and "listens to DaWa, ErWa" in added.out


def test_a_whole_fine_tuning_is_judged_as_a_model(piying, drawn, embedder, tiny_model_folder):
    values = ("kind=full", "steps=1", "preserve=0.0", "held_out=0.3")
    flags = [word for value in values for word in ("--set", value)]
    assert piying("train", "ds", "--model", tiny_model_folder, "--out", "runs/whole", *flags).code == 0
    small = ("--prompts", 1, "--seeds", 1, "--model", tiny_model_folder, "--embedder", embedder)
    done = piying("report", "runs/whole", *small, "--json")
    assert done.code == 0, done.err
    assert done.json["setting"]["trained"] == "runs/whole/model"
    assert piying("report", "runs/whole", *small, "--all").code == 2
    assert piying("report", "ds").code == 2
