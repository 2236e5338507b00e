"""Which clips are kept and why not; and clips.csv, in which a person decides otherwise."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from piying.data import sidecars
from piying.data.dataset import write_whole
from piying.data.record import WORK, Cut, Record
from piying.data.repeats import Seen, repeats
from piying.data.sources import delimiter
from piying.errors import UsageError

TABLE = "clips.csv"
_LAST = f"{WORK}/decisions.json"  # what was found by itself when the table was written: what differs was edited
_COLUMNS = ("id", "keep", "reasons", "caption", "advice", "source", "start", "end", "frames", "size")
_YES, _NO = ("yes", "y", "1", "true", "x", "是"), ("no", "n", "0", "false", "", "否")

BLANK = 4  # of contrast
FROZEN = 0.02  # of motion: less than the noise of an encoder
WRITTEN = 0.3  # of the pictures
BLURRED = 0.2  # of the usual sharpness of the footage
ENLARGED = 2.5  # times
CROPPED = 0.2  # of the picture


@dataclass(frozen=True)
class Decision:
    """`reasons` speak against a clip; without one it is kept. Either may be overruled in the table."""

    keep: bool
    captions: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    by_hand: bool = False


def judge(records: Sequence[Record], captions: Mapping[str, Sequence[str]]) -> dict[str, Decision]:
    """What the scores say of every clip. `captions` are those that were found for each id."""
    cuts = [cut for record in records for cut in record.cuts]
    seen = [
        Seen(cut.id, f"{record.prefix} {cut.shot}", cut.bits())
        for record in records
        for cut in record.cuts
        if cut.scores.contrast >= BLANK
    ]
    again = repeats(seen)
    sharp = [cut.scores.sharpness for cut in cuts if cut.scores.contrast >= BLANK]
    usual = float(np.median(sharp)) if sharp else 0.0
    decisions = {}
    for cut in cuts:
        reasons = _reasons(cut, usual)
        if cut.id in again:
            reasons.append(f"repeat: shows again what {again[cut.id]} shows")
        decisions[cut.id] = Decision(not reasons, tuple(captions[cut.id]), tuple(reasons))
    return decisions


def _reasons(cut: Cut, usual: float) -> list[str]:
    found = [cut.short] if cut.short else []
    scores = cut.scores
    if scores.contrast < BLANK:
        return [*found, "blank: nothing is to be seen"]
    if cut.frames > 1 and scores.motion < FROZEN:
        found.append("frozen: nothing moves")
    if scores.text >= WRITTEN:
        found.append(f"text: a line of writing in {scores.text:.0%} of its pictures")
    if scores.sharpness < BLURRED * usual:
        found.append(f"blurred: sharpness {scores.sharpness:.3f}, the footage has {usual:.3f}")
    if cut.enlarged > ENLARGED:
        found.append(f"small: enlarged {cut.enlarged:.1f} times")
    if cut.outside > CROPPED:
        found.append(f"cropped: {cut.outside:.0%} of the picture is outside")
    return found


def overrule(folder: Path, records: Sequence[Record], found: Mapping[str, Decision]) -> dict[str, Decision]:
    """The decisions with what a person changed in the table since it was written.

    A clip is known again by its place in its source, for an id may be another clip once a file was cut anew. Raises
    UsageError where the table is broken.
    """
    changes = _changes(folder)
    settled = {}
    for record in records:
        for cut in record.cuts:
            decision = found[cut.id]
            changed = changes.get((record.source, cut.start, cut.end), {})
            keep, captions = changed.get("keep", decision.keep), changed.get("captions", decision.captions)
            by_hand = (keep, captions) != (decision.keep, decision.captions)
            settled[cut.id] = Decision(keep, captions, decision.reasons, by_hand)
    return settled


def aside(folder: Path) -> Path | None:
    """A copy of the table where a person changed anything in it, else None. Raises as `overrule` and `write_whole`."""
    if not _changes(folder):
        return None
    number = 1
    while (path := folder / f"clips-{number}.csv").exists():
        number += 1
    write_whole(path, "\ufeff" + sidecars.read_text(folder / TABLE)[0])
    return path


def write(
    folder: Path,
    records: Sequence[Record],
    found: Mapping[str, Decision],
    settled: Mapping[str, Decision],
    advice: Mapping[str, Sequence[str]],
) -> None:
    """The table, with a mark at its head that tells spreadsheets that it is UTF-8, and what was found by itself."""
    text = io.StringIO()
    table = csv.writer(text)
    measured = ("sharpness", "motion", "text")
    table.writerow([*_COLUMNS, *measured])
    for record in records:
        for cut in record.cuts:
            decision = settled[cut.id]
            keep, size = "yes" if decision.keep else "no", f"{cut.size[0]}x{cut.size[1]}"
            told = "\n".join(decision.reasons), "\n".join(decision.captions), "\n".join(advice[cut.id])
            scores = [getattr(cut.scores, name) for name in measured]
            table.writerow([cut.id, keep, *told, record.source, cut.start, cut.end, cut.frames, size, *scores])
    last = {
        cut.id: {
            "keep": found[cut.id].keep,
            "captions": found[cut.id].captions,
            "place": [record.source, cut.start, cut.end],
        }
        for record in records
        for cut in record.cuts
    }
    write_whole(folder / TABLE, "\ufeff" + text.getvalue())
    write_whole(folder / _LAST, json.dumps(last, ensure_ascii=False))


def _changes(folder: Path) -> dict[Any, dict[str, Any]]:
    """What a person changed in the table, by the clip's place (source, start, end)."""
    edited, last = _edited(folder / TABLE), _last(folder)
    changes: dict[Any, dict[str, Any]] = {}
    for name, before in last.items():
        if name in edited:
            now = {"keep": edited[name][0], "captions": edited[name][1]}
            was = {"keep": before["keep"], "captions": tuple(before["captions"])}
            if changed := {key: value for key, value in now.items() if value != was[key]}:
                changes[tuple(before["place"])] = changed
    return changes


def _edited(path: Path) -> dict[str, tuple[bool, tuple[str, ...]]]:
    """Whether each clip of the table is to be kept, and its captions, a line each."""
    if not path.is_file():
        return {}
    text, _ = sidecars.read_text(path)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter(text))
    if missing := [name for name in ("id", "keep", "caption") if name not in (rows.fieldnames or ())]:
        raise UsageError(f"{path}: lacks the column {missing[0]}; delete the file to have it written anew")
    edited = {}
    for row in rows:
        said = (row["keep"] or "").strip().lower()
        if said not in (*_YES, *_NO):
            raise UsageError(f"{path}: keep={row['keep']} of {row['id']}: write yes or no")
        lines = (" ".join(line.split()) for line in (row["caption"] or "").splitlines())
        edited[row["id"]] = said in _YES, tuple(line for line in lines if line)
    return edited


def _last(folder: Path) -> dict[str, Any]:
    path = folder / _LAST
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}
