"""Characters and styles that nano never saw, from drawing clips to the report: `python benchmarks/characters.py`.

Each run trains an adapter on clips of the theatre and reports on it, as a person would on the command line; every
measure of which something was promised becomes a row.

child   one lantern child from 24 clips, with the recipe that is made for two CPU cores
two     two children in one adapter, from 60 clips of each, half of them with both; every fourth scene of the report
        has both
nine    the whole troupe in one adapter, from 40 clips of each
style   woodcut, from 24 clips of the base's own puppets, through `piying prep`
curve   one child from 5, 10, 20 and 40 clips: a table and a chart of their own

What a run trained and filmed lies in --work, so that the same command goes on where the time ended.
"""

import contextlib
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import table
import torch

from piying.cli import run as cli
from piying.theatre.scene import SUBJECTS, TROUPE
from piying.train.tune.tuning import CHARACTER

RUNS = ("child", "two", "nine", "style", "curve")
CURVE = (5, 10, 20, 40)
CLIPS = {"child": 24, "two": 60, "nine": 40, "style": 24}  # of each of the cast; a style has none
STYLE = "woodcut"
RECIPES = {
    "two": ("rank=32", "alpha=32.0", "steps=1500", "batch=16"),
    "nine": ("rank=32", "alpha=32.0", "steps=5000", "batch=32"),
    "style": ("triggers=['woodcut', 'woodblock print', '木刻']", "steps=500", "batch=8"),
}
TOY = ("steps=2", "batch=1", "sheet_every=2")
NAMED = "the one that was named is there, and it is that one"
COLUMNS = {
    "run": "",
    "clips": "",
    "measure": "",
    "promised": "",
    "value": ".3f",
    "low": ".3f",
    "high": ".3f",
    "base": ".3f",
    "ceiling": ".3f",
    "kept": "",
    "videos": "",
    "training, s": ".0f",
}


class Failed(Exception):
    """A verb that did not end well."""


def piying(*arguments: object) -> str:
    """Runs a verb; its answer. Raises Failed."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = cli([str(argument) for argument in arguments])
    if code:
        raise Failed(f"piying {arguments[0]}: exit code {code}, {said.getvalue().strip()[-160:]}")
    return said.getvalue()


def dataset(kind: str, clips: int, folder: Path, model: str) -> list[object]:
    """Draws what a run learns, where it is not there; -> the values of the recipe that go with it."""
    cast = {"two": ("dawa", "siwa"), "nine": TROUPE}.get(kind, ("dawa",))
    values = ["--set", "prompts=[]", *sets(RECIPES.get(kind, ()))]
    if (folder / "clips.jsonl").is_file():
        return values
    if kind != "style":
        piying("theatre", "clips", *cast, "--count", clips, "--out", folder)
        return values
    footage = folder.with_name("footage")
    if not footage.is_dir():
        who = [word for subject in SUBJECTS for word in ("--cast", subject)]
        size = ("--episodes", max(1, clips // 6), "--held-out", 1, "--scenes", min(clips, 6))
        piying("theatre", "footage", "--out", footage, "--style", STYLE, *who, *size)
    piying("prep", footage, "--out", folder, "--model", model)
    return values


def sets(values: Sequence[str]) -> list[object]:
    return [word for value in values for word in ("--set", value)]


def attempt(kind: str, clips: int, given: Any, minutes: float) -> tuple[dict[str, Any], float | None]:
    """Trains and reports: the report, and how long the training took where it was done now."""
    work = given.work / (f"{kind}-{clips}" if kind == "curve" else kind)
    values = dataset(kind, min(clips, 4) if given.toy else clips, work / "ds", given.model)
    end, took = time.monotonic() + 60 * minutes, None
    if not (work / "run" / "adapter").is_dir():
        resume = ["--resume"] if (work / "run" / "recipe.json").is_file() else []
        values += [*(sets(TOY) if given.toy else []), "--minutes", minutes, "--device", given.device, *resume]
        began = time.monotonic()
        piying("train", work / "ds", "--model", given.model, "--recipe", CHARACTER, "--out", work / "run", *values)
        took = None if resume else time.monotonic() - began
        if not (work / "run" / "adapter").is_dir():
            raise Failed("the time ended before the training did; the same command goes on")
    small = ["--frames", 9, "--steps", 1] if given.toy else []
    small += ["--frames", given.frames] if given.frames and not given.toy else []
    asked = ["--prompts", given.prompts, "--seeds", given.seeds, "--model", given.model, "--device", given.device]
    left = max(0.0, (end - time.monotonic()) / 60)
    return json.loads(piying("report", work / "run", *asked, *small, "--minutes", left, "--json")), took


def row(kind: str, clips: int, measure: dict[str, Any], took: float | None) -> table.Row:
    """A measure of a report as a row of the table."""
    promise, found = measure["promise"], measure["estimates"]
    least, most = promise["at_least"], promise["at_most"]
    value, base, ceiling = (
        found["adapter"],
        found.get("base", {}),
        measure["ceilings"].get("autoencoder", measure["ceilings"].get("real", {})),
    )
    return {
        "who": f"{kind}, {clips} clips: {promise['name']}",
        "run": kind,
        "clips": clips,
        "measure": promise["name"],
        "promised": f"at least {least:g}" if least is not None else f"at most {most:g}" if most is not None else "",
        "value": value["value"],
        "low": value["low"],
        "high": value["high"],
        "base": base.get("value"),
        "ceiling": ceiling.get("value"),
        "kept": {True: "yes", False: "no", None: ""}[measure["met"]],
        "videos": value["trials"],
        "training, s": took,
    }


def main() -> None:
    parser = table.options(__doc__, minutes=60)
    parser.add_argument("--runs", default="child,two,nine,style,curve", help=f"some of {', '.join(RUNS)}")
    parser.add_argument("--model", default="nano")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--frames", type=int, help="of each video of the reports; fewer are sooner")
    parser.add_argument("--work", type=Path, default=Path("runs/characters"), help="where runs lie")
    given = table.parse(parser)
    if given.toy:
        given.prompts, given.seeds = 2, 1
    chosen = given.runs.split(",")
    if unknown := set(chosen) - set(RUNS):
        parser.error(f"--runs {', '.join(sorted(unknown))}: use {', '.join(RUNS)}")
    device = torch.device(given.device)
    rows = table.Table("characters", "Characters and styles that nano never saw.", COLUMNS, given.out, device)
    curve = table.Table(
        "characters-curve",
        "One lantern child by the number of clips that it was learned from: named right, of 1.",
        COLUMNS,
        given.out,
        device,
        bars=("who", "value"),
        ours="",
    )
    plans = [(kind, clips) for kind in chosen for clips in (CURVE if kind == "curve" else (CLIPS[kind],))]
    for place, (kind, clips) in enumerate(plans):
        minutes = given.minutes - (time.monotonic() - rows.began) / 60
        if minutes <= 0:
            break
        kept = curve if kind == "curve" else rows
        labels = {"who": f"{kind}, {clips} clips", "run": kind, "clips": clips}
        try:
            share = minutes / (len(plans) - place)
            found, took = attempt(kind, clips, given, share)
        except Exception as error:
            kept.fail(labels, error)
            continue
        for measure in found["measures"]:
            if "adapter" in measure["estimates"] and (measure["promise"]["name"] == NAMED or kind != "curve"):
                one = row(kind, clips, measure, took)
                kept.add(one if kind != "curve" else one | {"who": f"{clips} clips"})


if __name__ == "__main__":
    main()
