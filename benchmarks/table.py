"""Rows of a benchmark as JSON, Markdown and a bar chart in SVG, all written anew after every row.

given = table.parse(table.options(__doc__))  # --out, --minutes, --device, --toy
columns = {"who": "", "seconds": ".3f"}
rows = table.Table("step", "One step.", columns, given.out, torch.device(given.device), bars=("who", "seconds"))
rows.add({"who": "piying", "seconds": 0.41})
rows.attempt({"who": "diffusers"}, lambda: {"seconds": measure()})  # a failure is a row too
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "triton", "diffusers", "transformers", "peft", "flash-attn-4")
Row = dict[str, Any]

OURS, OTHERS = "#a33b20", "#8a94a0"  # bars
LINE, LEFT, BAR, RIGHT = 26, 300, 420, 110  # pixels of the chart: height of a row, label, longest bar, value


def options(description: str | None, *, minutes: float = 8) -> argparse.ArgumentParser:
    """What every benchmark takes."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for JSON, Markdown and SVG")
    parser.add_argument("--minutes", type=float, default=minutes, help="no row is begun after this time")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--toy", action="store_true", help="everything small, e.g. on a CPU; wants another --out")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    arguments = parser.parse_args()
    if arguments.toy and arguments.out.resolve() == RESULTS.resolve():
        parser.error("--toy needs --out: its numbers are no results")
    return arguments


@dataclass
class Table:
    """The rows so far. JSON holds all that a row holds; Markdown the columns, a missing value as a dash."""

    name: str  # of the files
    title: str  # a sentence: what is measured, and how
    columns: Mapping[str, str]  # name -> format, as in format(value, ".3f")
    folder: Path
    device: torch.device
    bars: tuple[str, str] | None = None  # the columns with the label and the length of each bar
    ours: str = "piying"  # a label that begins so is drawn in our colour
    rows: list[Row] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def add(self, row: Row) -> Row:
        """Keeps a row, shows it on stderr and writes all files."""
        self.rows.append(row)
        print(", ".join(f"{name} {self._cell(row, name)}" for name in self._shown()), file=sys.stderr, flush=True)
        self.save()
        return row

    def attempt(self, labels: Row, measure: Callable[[], Row]) -> Row:
        """Adds what `measure` says, or the reason why it says nothing."""
        try:
            return self.add({**labels, **measure()})
        except Exception as error:
            return self.fail(labels, error)

    def fail(self, labels: Row, error: Exception) -> Row:
        if isinstance(error, torch.OutOfMemoryError):
            return self.add({**labels, "error": "does not fit into the memory"})
        said = (str(error).splitlines() or [""])[0][:160]
        return self.add({**labels, "error": f"{type(error).__name__}: {said}"})

    def time_is_up(self, minutes: float) -> bool:
        return time.monotonic() - self.began > 60 * minutes

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {"title": self.title, **where(self.device), "rows": self.rows}
        (self.folder / f"{self.name}.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
        (self.folder / f"{self.name}.md").write_text(self.markdown() + "\n", "utf-8")
        if self.bars:
            (self.folder / f"{self.name}.svg").write_text(self.chart() + "\n", "utf-8")

    def markdown(self) -> str:
        names, facts = self._shown(), where(self.device)
        versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
        lines = [f"| {' | '.join(cells)} |" for cells in ([*names], ["---"] * len(names))]
        lines += [f"| {' | '.join(self._cell(row, name) for name in names)} |" for row in self.rows]
        return "\n".join([self.title, "", *lines, "", f"{facts['date']}, {facts['device']}; {versions}."])

    def chart(self) -> str:
        """A horizontal bar for each row that has a length."""
        assert self.bars
        label, length = self.bars
        rows = [row for row in self.rows if isinstance(row.get(length), int | float)]
        longest = max((row[length] for row in rows), default=1) or 1
        width, height = LEFT + BAR + RIGHT, LINE * (len(rows) + 2)
        facts = where(self.device)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
            f' font-size="13" role="img"><title>{escape(self.title)}</title>',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            f'<text x="8" y="{LINE * 0.7:.0f}" font-weight="bold" fill="#222222">{escape(length)}</text>',
        ]
        for place, row in enumerate(rows, start=1):
            top, said, size = LINE * place, str(row[label]), BAR * row[length] / longest
            colour = OURS if said.startswith(self.ours) else OTHERS
            parts += [
                f'<text x="{LEFT - 8}" y="{top + 17}" text-anchor="end" fill="#222222">{escape(said)}</text>',
                f'<rect x="{LEFT}" y="{top + 4}" width="{size:.1f}" height="{LINE - 8}" fill="{colour}"/>',
                f'<text x="{LEFT + size + 6:.1f}" y="{top + 17}" fill="#222222">{self._cell(row, length)}</text>',
            ]
        foot = f"{facts['device']}, {facts['date']}, torch {facts['versions']['torch']}"
        parts.append(f'<text x="8" y="{height - 8}" font-size="11" fill="#666666">{escape(foot)}</text></svg>')
        return "\n".join(parts)

    def _shown(self) -> list[str]:
        """The columns, and one for errors where there are any."""
        return [*self.columns, *(["error"] if any("error" in row for row in self.rows) else [])]

    def _cell(self, row: Row, name: str) -> str:
        value = row.get(name)
        if value is None:
            return "" if name == "error" else "-"
        return format(value, self.columns.get(name, "")) if isinstance(value, int | float) else str(value)


def where(device: torch.device) -> dict[str, Any]:
    """Day, machine and versions."""
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {platform.machine()}"
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    if device.type == "cuda":
        versions |= {"CUDA": str(torch.version.cuda), "cuDNN": str(torch.backends.cudnn.version())}
    return {"date": date.today().isoformat(), "device": named, "versions": versions}
