"""The tables of the benchmarks: every row reaches the files at once, failures too."""

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch

BENCHMARKS = str(Path(__file__).parent.parent / "benchmarks")


@pytest.fixture(scope="module")
def table():
    sys.path.insert(0, BENCHMARKS)
    try:
        import table
    finally:
        sys.path.remove(BENCHMARKS)
    return table


@pytest.fixture
def rows(table, tmp_path):
    columns = {"who": "", "seconds": ".2f", "GiB": ".1f"}
    return table.Table("step", "A step.", columns, tmp_path, torch.device("cpu"), bars=("who", "seconds"))


def test_every_row_is_written_when_it_is_added(rows, tmp_path, capsys):
    rows.add({"who": "piying <fast>", "seconds": 1.0, "GiB": 3.14, "runs": [1.0, 1.1]})
    rows.add({"who": "diffusers", "seconds": 2.0})
    kept = json.loads((tmp_path / "step.json").read_text("utf-8"))
    assert kept["rows"][0]["runs"] == [1.0, 1.1] and kept["versions"]["torch"] == torch.__version__
    text = (tmp_path / "step.md").read_text("utf-8")
    assert "| piying <fast> | 1.00 | 3.1 |\n| diffusers | 2.00 | - |\n" in text and kept["date"] in text
    assert "who diffusers, seconds 2.00" in capsys.readouterr().err
    bars = ElementTree.parse(tmp_path / "step.svg").getroot().findall("{*}rect")[1:]
    ours, theirs = (float(bar.get("width")) for bar in bars)
    assert theirs == 2 * ours
    assert bars[0].get("fill") != bars[1].get("fill")


def test_what_fails_is_a_row_with_its_reason(rows, tmp_path):
    def broken():
        raise RuntimeError("no engine\nfor this")

    rows.attempt({"who": "piying"}, lambda: {"seconds": 1.0})
    rows.attempt({"who": "diffusers"}, broken)
    text = (tmp_path / "step.md").read_text("utf-8")
    assert "| piying | 1.00 | - |  |\n| diffusers | - | - | RuntimeError: no engine |\n" in text
    assert len(ElementTree.parse(tmp_path / "step.svg").getroot().findall("{*}rect")) == 2  # the ground and one bar


def test_toys_do_not_touch_the_results(table, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["step.py", "--toy"])
    with pytest.raises(SystemExit):
        table.parse(table.options("A step."))
    monkeypatch.setattr(sys, "argv", ["step.py", "--toy", "--out", str(tmp_path)])
    assert table.parse(table.options("A step.")).out == tmp_path
