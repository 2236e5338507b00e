"""Which clips are kept and why not; and clips.csv, in which a person decides otherwise."""

import csv
import io
import json
from collections.abc import Collection, Mapping, Sequence
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
_WRITTEN = f"{WORK}/{TABLE}"  # the table as it was written: what differs from it was edited
_EDITS = f"{WORK}/edits.json"
_COLUMNS = ("id", "keep", "reasons", "caption", "advice", "source", "start", "end", "frames", "size")
_YES, _NO = ("yes", "y", "1", "true", "x", "是"), ("no", "n", "0", "false", "", "否")

BLANK = 4  # of contrast
FROZEN = 0.02  # of motion: less than the noise of an encoder
WRITTEN = 0.3  # of the pictures
BLURRED = 0.2  # of the usual sharpness of the footage
ENLARGED = 2.5  # times
CROPPED = 0.2  # of the picture

Edits = dict[str, dict[str, Any]]  # `keep`, `captions` or both, by the place of a clip


@dataclass(frozen=True)
class Decision:
    """`reasons` speak against a clip; without one it is kept. Either may be overruled in the table."""

    keep: bool
    captions: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    by_hand: bool = False


def judge(
    records: Sequence[Record], captions: Mapping[str, Sequence[str]], edits: Edits, gone: Collection[str]
) -> dict[str, Decision]:
    """What the scores say of every clip, and people before them. `captions` are those that were found for each id,
    `gone` the files that are nowhere. A clip is a repeat of one that is kept, or that a person wants no copy of."""
    cuts = [(record, cut) for record in records for cut in record.cuts]
    sharp = [cut.scores.sharpness for _, cut in cuts if cut.scores.contrast >= BLANK]
    usual = float(np.median(sharp)) if sharp else 0.0
    reasons = {cut.id: _reasons(cut, usual) for _, cut in cuts}
    edited = {cut.id: edits.get(_place(cut.id, cut.start, cut.end), {}) for _, cut in cuts}
    for record, cut in cuts:
        if cut.file in gone:
            why = f"gone: its file was deleted; to have it again, delete {WORK}/{record.prefix}.source.json"
            reasons[cut.id], edited[cut.id] = [why], {**edited[cut.id], "keep": False}
    decided = [(record, cut) for record, cut in cuts if "keep" in edited[cut.id] or not reasons[cut.id]]
    again = repeats([Seen(cut.id, f"{record.prefix} {cut.shot}", cut.bits()) for record, cut in decided])
    for name, first in again.items():
        reasons[name].append(f"repeat: shows again what {first} shows")
    decisions = {}
    for name, edit in edited.items():
        found: dict[str, Any] = {"keep": not reasons[name], "captions": list(captions[name])}
        settled = found | edit
        by_hand = settled != found
        decisions[name] = Decision(settled["keep"], tuple(settled["captions"]), tuple(reasons[name]), by_hand)
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


def edits(folder: Path) -> Edits:
    """What people changed in the table since it was written, and whatever they changed before; it is kept for good.

    A clip is known again by its place in its source, for an id may be another clip once a file was cut anew. Raises
    UsageError where the table is broken.
    """
    path = folder / _EDITS
    found: Edits = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    written = _rows(folder / _WRITTEN)
    for name, now in _rows(folder / TABLE).items():
        before = written.get(name, now)
        if changed := {key: now[key] for key in ("keep", "captions") if now[key] != before[key]}:
            found[before["place"]] = found.get(before["place"], {}) | changed
    write_whole(path, json.dumps(found, ensure_ascii=False))
    return found


def aside(folder: Path, edits: Edits, before: Record) -> Path | None:
    """A copy of the table where a person changed clips of this file, else None. Raises as `write_whole`."""
    if not any(_place(cut.id, cut.start, cut.end) in edits for cut in before.cuts):
        return None
    number = 1
    while (path := folder / f"clips-{number}.csv").exists():
        number += 1
    write_whole(path, "\ufeff" + sidecars.read_text(folder / TABLE)[0])
    return path


def write(
    folder: Path,
    records: Sequence[Record],
    decisions: Mapping[str, Decision],
    advice: Mapping[str, Sequence[str]],
) -> None:
    """The table, with a mark at its head that tells spreadsheets that it is UTF-8."""
    text = io.StringIO("\ufeff")
    text.seek(0, io.SEEK_END)
    table = csv.writer(text)
    measured = ("sharpness", "motion", "text")
    table.writerow([*_COLUMNS, *measured])
    for record in records:
        for cut in record.cuts:
            decision = decisions[cut.id]
            keep, size = "yes" if decision.keep else "no", f"{cut.size[0]}x{cut.size[1]}"
            told = "\n".join(decision.reasons), "\n".join(decision.captions), "\n".join(advice[cut.id])
            scores = [getattr(cut.scores, name) for name in measured]
            table.writerow([cut.id, keep, *told, record.source, cut.start, cut.end, cut.frames, size, *scores])
    for name in (_WRITTEN, TABLE):
        write_whole(folder / name, text.getvalue())


def _rows(path: Path) -> dict[str, dict[str, Any]]:
    """The place of each clip of a table, whether to `keep` it, and its `captions`, a line each."""
    if not path.is_file():
        return {}
    text, _ = sidecars.read_text(path)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter(text))
    if missing := [name for name in ("id", "keep", "caption") if name not in (rows.fieldnames or ())]:
        raise UsageError(f"{path}: lacks the column {missing[0]}; delete the file to have it written anew")
    found = {}
    for row in rows:
        said = (row["keep"] or "").strip().lower()
        if said not in (*_YES, *_NO):
            raise UsageError(f"{path}: keep={row['keep']} of {row['id']}: write yes or no")
        lines = (" ".join(line.split()) for line in (row["caption"] or "").splitlines())
        found[row["id"]] = {
            "place": _place(row["id"], row.get("start"), row.get("end")),
            "keep": said in _YES,
            "captions": [line for line in lines if line],
        }
    return found


def _place(name: str, start: object, end: object) -> str:
    """Where a clip is from: the file, by what its ids begin with, and the seconds."""
    return f"{name.rpartition('-')[0]} {start} {end}"
