"""The benchmark at toy size: it measures every part, sees a difference, and survives what goes wrong."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from piying import ops

BENCHMARKS = str(Path(__file__).parent.parent / "benchmarks")


@pytest.fixture(scope="module")
def parity():
    sys.path.insert(0, BENCHMARKS)
    try:
        import parity_real_shapes
    finally:
        sys.path.remove(BENCHMARKS)
    return parity_real_shapes


def run(parity, monkeypatch, folder, *members):
    """The rows of a run, by part and members, and its exit status."""
    arguments = ["--toy", "--device", "cpu", "--out", str(folder), *(("--members", *members) if members else ())]
    monkeypatch.setattr(sys, "argv", ["parity_real_shapes.py", *arguments])
    status = parity.main()
    rows = json.loads((folder / "parity_real_shapes.json").read_text("utf-8"))
    return {(row["part"], row["members"]): row for row in rows}, status


def test_every_part_is_as_near_to_the_reference_as_in_diffusers(parity, monkeypatch, tmp_path, capsys):
    rows, _ = run(parity, monkeypatch, tmp_path)
    names = ["cogvideox-2b", "cogvideox-5b", "cogvideox-5b-i2v", "cogvideox-1.5-5b", "cogvideox-1.5-5b-i2v"]
    others = ", ".join(names[1:])  # at toy size they share a shape, so one autoencoder stands for all in bfloat16
    assert list(rows) == [
        *(("transformer", name) for name in names),
        *((f"VAE {verb}", name) for name in (names[0], others) for verb in ("encode", "decode")),
        ("text encoder", "t5-v1.1-xxl"),
    ]
    for row in rows.values():
        assert row["precision"] == ("float16" if row["members"] == "cogvideox-2b" else "bfloat16")
        rounding = torch.finfo(getattr(torch, row["precision"])).eps
        assert rounding / 10 < row["theirs"] < 4 * rounding  # a float32 against itself would be less
        assert row["ours"] < 2 * row["theirs"]  # so few values say no more
        assert row["apart"] < 3 * row["theirs"]
    assert (tmp_path / "parity_real_shapes.md").read_text("utf-8") == capsys.readouterr().out


def test_a_row_that_is_further_away_fails(parity, monkeypatch, tmp_path):
    monkeypatch.setattr(ops, "rotate", lambda x, turns: x)
    rows, status = run(parity, monkeypatch, tmp_path, "cogvideox-5b")
    row = rows["transformer", "cogvideox-5b"]
    assert status == 1 and row["ours"] > 3 * row["theirs"]
    assert "fails: further away than diffusers" in (tmp_path / "parity_real_shapes.md").read_text("utf-8")


def test_what_breaks_is_a_row_and_the_rest_still_runs(parity, monkeypatch, tmp_path):
    def broken(row, member, device):
        raise RuntimeError("no engine\nfor this")

    monkeypatch.setattr(parity, "encode", broken)
    rows, status = run(parity, monkeypatch, tmp_path, "cogvideox-2b")
    assert status == 1
    assert rows["VAE encode", "cogvideox-2b"]["failure"] == "RuntimeError: no engine"
    assert math.isfinite(rows["VAE decode", "cogvideox-2b"]["ours"])


def test_an_autoencoder_that_does_not_fit_is_measured_at_the_smaller_shape(parity, monkeypatch, tmp_path):
    whole = parity.decode

    def tight(row, member, device):
        if row.size == (32, 48):
            raise torch.OutOfMemoryError
        return whole(row, member, device)

    monkeypatch.setattr(parity, "decode", tight)
    monkeypatch.setattr(parity, "SMALLER", (9, (16, 24)))
    rows, _ = run(parity, monkeypatch, tmp_path, "cogvideox-2b")
    row = rows["VAE decode", "cogvideox-2b"]
    assert (row["frames"], row["size"], row["failure"]) == (9, [16, 24], "")
    assert "(17x32x48: does not fit into the memory)" in (tmp_path / "parity_real_shapes.md").read_text("utf-8")


def test_a_later_run_replaces_its_own_rows_alone(parity, monkeypatch, tmp_path):
    before = [parity.Row(part, part, "bfloat16", 49, (480, 720), 1.0, 1.0) for part in ("first", "last")]
    stale = parity.Row("text encoder", "t5-v1.1-xxl", "bfloat16", 226, ours=9.0, theirs=1.0)
    parity.save([before[0], stale, before[1]], tmp_path)
    rows, status = run(parity, monkeypatch, tmp_path, "t5-v1.1-xxl")
    assert status == 0
    assert list(rows) == [("first", "first"), ("text encoder", "t5-v1.1-xxl"), ("last", "last")]
    assert rows["first", "first"]["ours"] == 1.0
    assert rows["text encoder", "t5-v1.1-xxl"]["ours"] < 0.1


def test_toys_do_not_touch_the_results(parity, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["parity_real_shapes.py", "--toy"])
    with pytest.raises(SystemExit):
        parity.main()
