"""`piying theatre clips` and `piying train` on the command line."""

import pytest

from piying.data import dataset as datasets
from piying.train.tune.rehearsal import member


def test_clips_of_the_theatre_are_a_dataset(piying, tmp_path):
    done = piying("theatre", "clips", "dawa", "snake_lady", "--count", 1, "--out", "ds", "--json")
    assert done.code == 0 and done.json == {"dataset": "ds", "clips": 2}
    found = datasets.read(tmp_path / "ds")
    for clip, who in zip(found.clips, ("dawa", "snake_lady"), strict=True):
        assert who in clip.names and set(clip.names) <= {"dawa", "snake_lady"}
    assert found.cast[0] == member("dawa") and found.aliases["蛇夫人"] == found.aliases["Snake Lady"] == "Snake-Lady"
    for clip, words in zip(found.clips, (("DaWa", "大娃"), ("Snake Lady", "蛇夫人")), strict=True):
        assert len(clip.captions) == 6 and clip.frames == 49
        assert all(any(word in caption for word in words) for caption in clip.captions)
        assert not any("red" in caption.split() for caption in clip.captions)  # looks belong to the name
    assert piying("theatre", "clips", "dawa", "--out", "ds").code == 2
    assert "use dawa, erwa" in piying("theatre", "clips", "boat", "--out", "other").err


@pytest.fixture
def dataset(piying, tmp_path):
    piying("theatre", "clips", "dawa", "--count", 2, "--out", "ds")
    lines = (tmp_path / "ds" / "clips.jsonl").read_text("utf-8")
    small = lines.replace('"frames": 49', '"frames": 9').replace('"size": [96, 144]', '"size": [32, 48]')
    (tmp_path / "ds" / "clips.jsonl").write_text(small, "utf-8")
    return tmp_path / "ds"


def test_a_training_ends_in_an_adapter_and_says_where(piying, dataset, tiny_model_folder, tmp_path):
    values = ("--set", "steps=2", "--set", "rank=2", "--set", "alpha=2.0", "--set", "preserve=0.0")
    done = piying("train", dataset, "--model", tiny_model_folder, *values, "--json")
    assert done.code == 0, done.err
    assert done.json["run"] == "runs/ds" and "runs/ds/adapter/kohya.safetensors" in done.json["made"]
    assert "one step: " in done.err and "read again, " in done.err
    info = piying("adapters", "info", "runs/ds/adapter", "--json").json
    assert info["aliases"] == {"大娃": "DaWa"} and info["rank"] == [2] and info["base"] == "tiny"
    again = piying("train", dataset, "--model", tiny_model_folder, *values)
    assert again.code == 2 and "go on with it (--resume)" in again.err


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("--memory", "8"), "write a size with its unit"),
        (("--memory", "8GB", "--device", "cpu"), "leave it out"),
        (("--set", "rank=0"), "at least 1"),
        (("--set", "speed=3"), "unknown"),
    ],
)
def test_what_makes_no_sense_is_one_line(piying, dataset, tiny_model_folder, values, words):
    done = piying("train", dataset, "--model", tiny_model_folder, *values)
    assert done.code == 2 and words in done.err and len(done.err.splitlines()) == 1


def test_memory_that_cuda_alone_takes_is_refused(piying, dataset, tiny_model_folder, monkeypatch):
    monkeypatch.setattr("piying.device.choose", lambda device: "cuda")
    done = piying("train", dataset, "--model", tiny_model_folder, "--memory", "400MB")
    assert done.code == 2 and done.err.splitlines()[-1].endswith(
        "memory=400MB: CUDA alone takes 500 MiB of it; allow more, e.g. 8GB"
    )


def test_a_folder_that_is_no_dataset_is_named(piying, tiny_model_folder, tmp_path):
    done = piying("train", tmp_path, "--model", tiny_model_folder)
    assert done.code == 2 and "clips.jsonl is missing" in done.err
