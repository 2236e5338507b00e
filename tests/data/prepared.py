"""A run of prep at toy size, and the table that it leaves."""

import csv
import io
from dataclasses import replace

from piying.config import NANO
from piying.data import sources
from piying.data.prep import prep

SIZE = (48, 64)
TOY = replace(NANO, size=SIZE, frames=17)


class Run:
    """One run and what it said."""

    def __init__(self, footage, out, **options):
        self.told: list[str] = []
        self.done: list[int] = []
        options = {"config": TOY, **options}
        found = sources.survey(footage, out)
        self.outcome = prep(found, out, "nano", tell=self.told.append, advance=self.done.append, **options)
        self.kept = [clip.id for clip in self.outcome.clips]
        self.dropped = {
            name: [reason.partition(":")[0] for reason in one.reasons]
            for name, one in self.outcome.decisions.items()
            if not one.keep
        }


def table(out):
    text = (out / "clips.csv").read_text("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def edit(out, change):
    rows = [{**row, **change.get(row["id"], {})} for row in table(out)]
    with (out / "clips.csv").open("w", encoding="gb18030", newline="") as file:  # as a spreadsheet may save it
        written = csv.DictWriter(file, rows[0].keys(), delimiter=";")
        written.writeheader()
        written.writerows(rows)
