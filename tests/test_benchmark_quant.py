"""The benchmarks of eight bits and of fast videos at toy size: every way has its row, and what they say adds up."""

import json
import sys
from pathlib import Path

import pytest

from piying.evaluate.sight import Sight
from piying.sampling import reuse

BENCHMARKS = str(Path(__file__).parent.parent / "benchmarks")


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Rows of a benchmark, by way."""

    def run(name, *arguments):
        monkeypatch.syspath_prepend(BENCHMARKS)
        module = __import__(name)
        given = ["--toy", "--device", "cpu", "--out", str(tmp_path), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *given])
        module.main()
        return json.loads((tmp_path / f"{name}.json").read_text("utf-8"))["rows"]

    return run


def test_eight_bits_are_farther_from_float32_the_fewer_they_tell(run):
    rows = {row["way"]: row for row in run("quant", "--members", "5b", "--rounds", 1)}
    assert not any("error" in row for row in rows.values())
    far = {way: row.get("far from float32") for way, row in rows.items()}
    assert far["bfloat16"] < far["int8 weights"] < far["fp8 weights"] < far["fp8 products and weights"] < 0.2
    whole, small = (rows[way]["blocks, GiB"] for way in ("bfloat16", "int8 weights"))
    assert 0.5 < small / whole < 0.6
    fast = next(row for way, row in rows.items() if way.startswith("fast: 18 of 50 steps asked"))
    assert fast["seconds"] == pytest.approx(18 / 50 * rows["fp8 products"]["seconds"])


def quick_look(clips, casts):
    """A judge that sees the same in every clip, in no time."""
    seen = {"colour": "red", "size": "small", "motion": "jumps"}
    return [Sight({subject: seen for subject in cast}, {"camera": "still"}) for cast in casts]


def test_fast_videos_stand_beside_the_exact_one(run, tiny_model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("piying.evaluate.analytic.look", quick_look)
    given = ("--model", tiny_model_folder, "--prompts", 1, "--steps", 8, "--leaps", "2,8", "--samplers", "ddim")
    asked = reuse.asked
    rows = {row["way"]: row for row in run("fast", *given)}
    assert reuse.asked is asked
    assert not any("error" in row for row in rows.values())
    assert list(rows) == [
        "exact",
        f"fast, leaps of 1/2: {sum(asked(8, 2))} of 8 steps asked",
        "fast, leaps of 1/8: 8 of 8 steps asked",
        "8 steps",
        "guidance in the middle half",
        "int8 weights",
        "fp8 weights",
    ]
    fewer, all_of_them = rows["fast, leaps of 1/2: 7 of 8 steps asked"], rows["fast, leaps of 1/8: 8 of 8 steps asked"]
    assert fewer["PSNR"] < all_of_them["PSNR"] == 100  # nothing differs
    assert len({row["right"] for row in rows.values()}) == 1 and 0 <= rows["exact"]["right"] < 1
    assert rows["guidance in the middle half"]["PSNR"] < 60
    assert rows["fp8 weights"]["PSNR"] < rows["int8 weights"]["PSNR"] < 100
    assert (tmp_path / "fast-ddim-0.png").is_file() and (tmp_path / "fast.svg").is_file()
