"""The benchmark of characters: each run trains and reports on the command line, and what was promised becomes rows."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = str(Path(__file__).parent.parent / "benchmarks")
ESTIMATE = {"value": 0.9, "low": 0.8, "high": 0.95, "trials": 4}


@pytest.fixture(scope="module")
def characters():
    sys.path.insert(0, BENCHMARKS)
    try:
        import characters
    finally:
        sys.path.remove(BENCHMARKS)
    return characters


@pytest.fixture
def run(characters, monkeypatch, tmp_path):
    """Runs the benchmark; its commands are parsed by the command line itself, and do nothing but leave files."""
    import typer

    from piying.cli import app

    said = []

    def cli(arguments):
        command = typer.main.get_command(app)
        words = list(arguments)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        given = command.make_context(command.name, words).params  # refuses what the verb does not know
        said.append((command.name, given))
        if command.name == "train":
            (given["out"] / "adapter").mkdir(parents=True)
        if command.name == "report":
            if "curve-10" in str(given["run"]):
                return 1
            names = (characters.NAMED, "motion right, with a name")
            promises = [{"name": name, "unit": "rate", "at_least": 0.9, "at_most": None} for name in names]
            ceilings = {"autoencoder": ESTIMATE | {"value": 0.98}}
            estimates = {"adapter": ESTIMATE, "base": ESTIMATE | {"value": 0.1}}
            rows = [{"promise": p, "estimates": estimates, "ceilings": ceilings, "met": True} for p in promises]
            print(json.dumps({"measures": rows}))
        return 0

    def run(*arguments):
        monkeypatch.setattr(characters, "cli", cli)
        given = ["--toy", "--device", "cpu", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
        monkeypatch.setattr(sys, "argv", ["characters.py", *given, *arguments])
        characters.main()
        return said, lambda name: json.loads((tmp_path / "out" / f"{name}.json").read_text("utf-8"))["rows"]

    return run


def test_what_was_promised_becomes_rows(run, characters):
    said, rows = run("--runs", "child,style")
    assert [name for name, _ in said] == ["clips", "train", "report", "footage", "prep", "train", "report"]
    found = rows("characters")
    assert [(row["run"], row["measure"]) for row in found] == [
        (kind, measure) for kind in ("child", "style") for measure in (characters.NAMED, "motion right, with a name")
    ]
    row = found[0]
    assert (row["value"], row["base"], row["ceiling"], row["kept"]) == (0.9, 0.1, 0.98, "yes")
    assert row["promised"] == "at least 0.9" and row["training, s"] is not None
    values = dict(said)["train"]["override"]
    assert {*characters.RECIPES["style"], *characters.TOY, "prompts=[]"} <= set(values)


def test_the_curve_has_a_chart_and_goes_past_what_fails(run, characters):
    _, rows = run("--runs", "curve")
    found = rows("characters-curve")
    assert [row["clips"] for row in found] == list(characters.CURVE)
    assert "exit code 1" in found[1]["error"] and all(row["value"] == 0.9 for row in found if "error" not in row)


def test_what_was_trained_is_not_trained_again(run, characters):
    run("--runs", "nine")
    said, _ = run("--runs", "nine")
    assert [name for name, _ in said].count("train") == 1 and [name for name, _ in said].count("report") == 2
    assert set(characters.RECIPES["nine"]) <= set(dict(said)["train"]["override"])


def test_a_run_that_does_not_exist_is_refused(run, capsys):
    with pytest.raises(SystemExit):
        run("--runs", "child,horse")
    assert "use child, two" in capsys.readouterr().err
