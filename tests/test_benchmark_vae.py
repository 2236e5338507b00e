"""The benchmark of the autoencoder at toy size: every way has its row, and what fails is a row too."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = str(Path(__file__).parent.parent / "benchmarks")


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import vae

    monkeypatch.setattr(sys, "argv", ["vae.py", "--toy", "--device", "cpu", "--out", str(tmp_path)])
    monkeypatch.setattr(vae, "REPEATS", 1)
    monkeypatch.setattr(vae, "TOY", [vae.replace(vae.TOY[0], frames=5, limits=(1, 0.0001))])
    monkeypatch.setattr(vae, "TOY_CONFIG", vae.replace(vae.TOY_CONFIG, channels=(8, 8, 16, 16), groups=4))

    def run():
        vae.main()
        return json.loads((tmp_path / "vae.json").read_text("utf-8"))["rows"]

    return run


def test_every_way_is_timed_and_a_limit_that_is_too_low_is_a_row(run):
    rows = run()
    who = ["diffusers", "diffusers, tiled", "piying", "piying within 1 GiB", "piying within 0.0001 GiB"]
    assert [(row["task"], row["who"]) for row in rows] == [(task, w) for task in ("decode", "encode") for w in who]
    for row in rows:
        if row["who"] == who[-1]:
            assert row["error"].startswith("OutOfMemory: limit=")
            continue
        assert len(row["all seconds"]) == 1 and row["seconds"] > 0
        assert 1e-3 < row["distance"] < 2e-2
        assert ("predicted GiB" in row) == row["who"].startswith("piying")
