"""report.html, report.json and the pictures beside them: what was promised of a fine-tuning, and what came out."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from piying.data.dataset import Clip, Dataset, write_whole
from piying.data.describe import frames_of
from piying.evaluate.promises import CEILINGS, JUDGED, Sets, faults
from piying.evaluate.report import Measure, matrix, show
from piying.theatre.sheet import contact_sheet

ROWS = 12  # clips on a sheet
PAGE, DATA = "report.html", "report.json"
HEADS = {
    "adapter": "trained",
    "base": "base",
    "rendered": "ceiling: drawn clips",
    "autoencoder": "ceiling: drawn, through the autoencoder",
    "real": "real clips, held out",
}
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --no: #c0392b; --yes: #2e8b57 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line) }
table { border-collapse: collapse; display: block; overflow-x: auto }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top }
.kept { color: var(--yes) } .missed { color: var(--no) } img { max-width: 100%; background: #0002 }
ul { margin: .3rem 0; padding-left: 1.2rem } figure { margin: 1rem 0 } small { opacity: .7 }
"""


def write(
    out: Path,
    *,
    title: str,
    setting: Mapping[str, str],
    verdict: Sequence[str],
    measures: Sequence[Measure],
    confusions: Mapping[str, Mapping[str, Mapping[str, int]]],
    scales: Mapping[str, Mapping[str, Any]],
    sheets: Mapping[str, str],
    chosen: Mapping[str, Any],
    clips: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Writes all of it, the pictures first, and gives the JSON. Raises PiyingError where the disk refuses."""
    pictures = dict(sheets)
    for name, counts in confusions.items():
        file = f"confusion-{name}.png"
        matrix(counts).save(out / file)
        pictures[file] = f"Who was named (rows), and who was seen (columns): {HEADS[name]}"
    rows = [asdict(measure) | {"met": measure.met} for measure in measures]
    found = {
        "title": title,
        "met": any(measure.met for measure in measures) and all(measure.met is not False for measure in measures),
        "verdict": list(verdict),
        "setting": dict(setting),
        "measures": rows,
        "confusions": confusions,
        "scales": scales,
        "chosen": chosen,
        "pictures": pictures,
        "clips": list(clips),
    }
    write_whole(out / DATA, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    write_whole(out / PAGE, _html(found, measures))
    return found


def sheets(
    out: Path, sets: Sets, dataset: Dataset, nearest: Sequence[Clip | None], cast: Sequence[str]
) -> dict[str, str]:
    """Contact sheets of what was made, what went wrong and what it resembles: file -> what it shows.

    `nearest` is the training clip most like each named clip that was made.
    """
    made, base = (
        sets.named.get("adapter", ()),
        {(shown.group, shown.path.stem): shown for shown in sets.named.get("base", ())},
    )
    firsts = [shown for shown in made if shown.path.stem.endswith("00")][: ROWS // 2]
    pairs: list[tuple[Path, str]] = []
    for shown in firsts:
        pairs.append((shown.path, shown.ask.prompt))
        if before := base.get((shown.group, shown.path.stem)):
            pairs.append((before.path, "the same, by the base"))
    wrong = [(shown.path, words) for shown in made if (words := faults(shown))]
    leaked = [
        (shown.path, f"{shown.ask.prompt}: {', '.join(sorted(who))}")
        for shown in sets.plain.get("adapter", ())
        if (who := set(cast) & {*shown.found.get("cast", ()), *shown.found.get("near", ())})
    ]
    alike: list[tuple[Path, str]] = []
    for shown, clip in zip(made, nearest, strict=True):
        if clip and shown in firsts:
            alike += [(shown.path, shown.ask.prompt), (dataset.path(clip), f"the nearest training clip, {clip.id}")]
    found = {}
    for name, words, shown_ in (
        ("samples", "With a name: what was trained, and below it the base from the same noise", pairs),
        ("faults", "What was trained, where it went wrong, and what was seen instead", wrong),
        ("leaks", "Prompts without a name in which one of the cast appears", leaked),
        ("nearest", "Videos, and below each the training clip that is most like it", alike),
    ):
        if shown_:
            _sheet(shown_[:ROWS]).save(out / f"{name}.png")
            found[f"{name}.png"] = words
    return found


def _sheet(rows: Sequence[tuple[Path, str]]) -> Image.Image:
    """Clips of any size, each brought to the size of the first."""
    clips = [frames_of(path) for path, _ in rows]
    size = clips[0].shape[2], clips[0].shape[1]
    fitted = [
        clip
        if (clip.shape[2], clip.shape[1]) == size
        else np.stack([np.asarray(Image.fromarray(frame).resize(size)) for frame in clip])
        for clip in clips
    ]
    return contact_sheet(fitted, [words for _, words in rows])


def _html(found: Mapping[str, Any], measures: Sequence[Measure]) -> str:
    title, (first, *verdict) = escape(found["title"]), found["verdict"]
    columns = [
        name
        for name in (*JUDGED, *CEILINGS)
        if any(name in measure.estimates or name in measure.ceilings for measure in measures)
    ]
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>',
        f'<h1>{title}</h1><p><b class="{"kept" if found["met"] else "missed"}">{escape(first)}</b></p>',
        _list(verdict),
        "<h2>All measures</h2><p><small>Intervals are 95 %, and know that videos of one scene are alike. A ceiling "
        "is what the judges say of clips of which everything is known.</small></p>",
        _table(
            ["measure", "promised", *(HEADS[name] for name in columns), ""],
            [_row(measure, columns) for measure in measures],
        ),
    ]
    if found["chosen"]:
        scores = found["chosen"]["scores"]
        names = list(dict.fromkeys(name for score in scores.values() for name in score))
        parts.append(f"<h2>Which adapter: {escape(found['chosen']['best'])}</h2>")
        parts.append(
            _table(
                ["step", *names],
                [
                    [escape(step), *(f"{score[name]:.3f}" if name in score else "" for name in names)]
                    for step, score in scores.items()
                ],
            )
        )
    if found["scales"]:
        parts.append("<h2>How well the vision model tells the cast apart in real clips</h2>")
        parts.append(
            _table(
                ["who", "area under the ROC curve", "called the same from", "same pairs", "different pairs"],
                [
                    [escape(name), *("-" if value is None else f"{value:.3g}" for value in scale.values())]
                    for name, scale in found["scales"].items()
                ],
            )
        )
    parts.append("<h2>Pictures</h2>")
    for file, words in found["pictures"].items():
        parts.append(f'<figure><img src="{file}" alt=""><figcaption>{escape(words)}</figcaption></figure>')
    parts.append("<h2>How it was measured</h2>")
    parts.append(_table(["", ""], [[escape(name), escape(words)] for name, words in found["setting"].items()]))
    return "\n".join(parts) + "\n</html>\n"


def _row(measure: Measure, columns: Sequence[str]) -> list[str]:
    cells = {**measure.estimates, **measure.ceilings}
    word = {True: '<span class="kept">kept</span>', False: '<span class="missed">missed</span>', None: ""}[measure.met]
    if measure.met is False and not measure.counted:
        word = "cannot be judged"
    return [
        escape(measure.promise.name),
        str(measure.promise),
        *(show(cells[name], measure.promise.unit) if name in cells else "" for name in columns),
        word,
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML."""
    lines = [
        "".join(f"<th>{cell}</th>" for cell in head),
        *("".join(f"<td>{cell}</td>" for cell in row) for row in rows),
    ]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"
