"""The benchmark of a step at toy size: every way makes the same step, and each kernel has its row."""

import json
import sys
from pathlib import Path

import pytest
import torch

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B
from piying.kernels import attention

BENCHMARKS = str(Path(__file__).parent.parent / "benchmarks")


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, BENCHMARKS)
    try:
        import step
        import step_kernels
    finally:
        sys.path.remove(BENCHMARKS)
    return {"step": step, "kernels": step_kernels}


@pytest.fixture
def step(scripts):
    return scripts["step"]


@pytest.fixture
def run(scripts, monkeypatch, tmp_path):
    def run(*arguments, name="step"):
        given = ["--toy", "--device", "cpu", "--out", str(tmp_path), *arguments]
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *given])
        scripts[name].main()
        return json.loads((tmp_path / f"{name}.json").read_text("utf-8"))["rows"]

    return run


def test_every_way_is_timed_in_turn_and_near_float32(run):
    rows = run("--members", "2b,1.5-5b", "--ways", "fa4,pytorch,plain,diffusers", "--rounds", "2")
    ways = ["piying, PyTorch's attention", "piying without kernels", "diffusers"]  # no FlashAttention on a CPU
    assert [(row["model"], row["way"]) for row in rows] == [(m, way) for m in ("2b", "1.5-5b") for way in ways]
    for row in rows:
        assert len(row["all"]) == row["rounds"] == 2 and "error" not in row
        assert 1e-3 < row["far from float32"] < 1e-2


def test_compiled_ways_run(run):
    rows = run("--members", "5b", "--ways", "blocks,diffusers-compiled")
    assert [row["way"] for row in rows] == ["piying, blocks compiled", "diffusers, compiled"]
    assert all(row["seconds"] > 0 for row in rows)


def test_every_kernel_has_its_row(run):
    rows = run("--members", "5b", name="kernels")
    assert not [row for row in rows if "error" in row]
    said = [row["what"] for row in rows]
    assert {"copy", "residual, norm", "q and k, and back", "linear, D to 4 D, GELU", "attention, PyTorch"} <= set(said)
    assert said[-1] == "all of a block, times blocks"


def test_the_work_of_a_step_is_counted(step):
    for member, teraflop in ((COGVIDEOX_2B, 94 + 146), (COGVIDEOX_5B, 338 + 326)):
        latents = torch.empty(2, 13, 16, 60, 90, device="meta")
        assert step.work_in(member, latents) == pytest.approx(teraflop, rel=0.01)


def test_a_back_end_that_was_left_out_is_no_result(step, monkeypatch):
    monkeypatch.setattr(attention, "_left_out", {"cuDNN"})
    with pytest.raises(RuntimeError, match="cuDNN does not run here"), step.taking("cuDNN"):
        pass
    assert len(attention.BACKENDS) == 2


def test_a_member_that_fails_is_a_row(step, run, monkeypatch):
    def full(*parts):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(step, "Pair", full)
    assert run("--members", "2b") == [{"model": "2b", "error": "does not fit into the memory"}]
