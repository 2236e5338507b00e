"""What was promised against what came out, as report.json, report.md and pictures. No number here is typed in."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image, ImageDraw

from piying import __version__
from piying.evaluate.intervals import Estimate

Unit = Literal["rate", "points", "dB", ""]


@dataclass(frozen=True)
class Promise:
    """What was promised of a quantity; nothing where both ends are open."""

    name: str
    unit: Unit
    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        if self.at_least is not None:
            return f"at least {number(self.at_least, self.unit)}"
        return "" if self.at_most is None else f"at most {number(self.at_most, self.unit)}"

    def is_kept(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)


@dataclass(frozen=True)
class Measure:
    """One row of the table: an estimate for each judge, or for the one way to measure it ("measured"), if any."""

    promise: Promise
    estimates: Mapping[str, Estimate]
    ceilings: Mapping[str, Estimate]  # the same measure of the same judge on rendered clips
    counted: tuple[str, ...]  # the judges that decide

    @property
    def met(self) -> bool | None:
        """Whether every judge that decides finds the promise kept; None where nothing was promised."""
        if self.promise.at_least is None and self.promise.at_most is None:
            return None
        return bool(self.counted) and all(self.promise.is_kept(self.estimates[judge].value) for judge in self.counted)


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that an evaluation found."""

    model: str
    setting: Mapping[str, str]  # seeds, counts, machine, versions
    measures: Sequence[Measure]
    ceilings: Mapping[str, Mapping[str, Mapping[str, Estimate]]]  # footage -> judge -> attribute
    agreement: Mapping[str, Estimate]  # attribute -> how often the two judges say the same of a generated clip
    baselines: Mapping[str, Mapping[str, Mapping[str, Estimate]]]  # baseline -> judge -> attribute
    confusions: Mapping[str, Mapping[str, Mapping[str, Mapping[str, int]]]]  # footage, judge: attribute: told: seen
    pictures: Mapping[str, str]  # file name -> what it shows

    @property
    def met(self) -> bool:
        return all(measure.met is not False for measure in self.measures)

    def write(self, out: Path) -> None:
        """report.json, report.md and one picture per confusion matrix, into a folder that is there."""
        rows = [asdict(measure) | {"met": measure.met} for measure in self.measures]
        text = json.dumps(asdict(self) | {"measures": rows, "met": self.met}, indent=1, ensure_ascii=False)
        (out / "report.json").write_text(text + "\n")
        drawn = {}
        for source, attributes in self.confusions.items():
            for attribute, counts in attributes.items():
                name = f"confusion-{source.replace(', ', '-').replace(' ', '-')}-{attribute}.png"
                matrix(counts).save(out / name)
                drawn[name] = f"{attribute}, {source}: a row is what was told, a column what was seen"
        (out / "report.md").write_text(markdown(self, {**self.pictures, **drawn}))


def made_with(device: str) -> dict[str, str]:
    """The machine and the versions, as the setting of a report has them."""
    processor = (
        torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or platform.machine()
    )
    return {
        "machine": f"{processor}, torch {torch.__version__}, Python {platform.python_version()}",
        "piying": __version__,
    }


def markdown(report: Report, pictures: Mapping[str, str]) -> str:
    """The report as a page."""
    judges = list(dict.fromkeys(judge for measure in report.measures for judge in measure.estimates))
    tested = [judge for judge in judges if any(judge in measure.ceilings for measure in report.measures)]
    verdicts = {True: "met", False: "**missed**", None: ""}
    rows = [
        [
            measure.promise.name,
            str(measure.promise),
            *columns(measure, measure.estimates, judges),
            *columns(measure, measure.ceilings, tested),
            verdicts[measure.met] if measure.estimates else "**not measured**",
        ]
        for measure in report.measures
    ]
    parts = [
        f"# {report.model}: what was promised, what came out",
        "\n".join(f"- {name}: {value}" for name, value in report.setting.items()),
        "Every interval is a 95 % interval. A ceiling is what the judge scores on rendered held-out clips. A row is "
        "decided by the judges in bold.",
        table(["measure", "target", *judges, *(f"ceiling, {judge}" for judge in tested), ""], rows),
        "## The judges on clips whose facts are known",
        *(f"{footage}:\n\n{by_attribute(found)}" for footage, found in report.ceilings.items()),
        "## How often the judges agree on generated clips",
        table(["attribute", "agreement"], [[name, show(value, "rate")] for name, value in report.agreement.items()]),
        "## Baselines",
        *(f"{name}:\n\n{by_attribute(found)}" for name, found in report.baselines.items()),
        "## Pictures",
        *(f"{words}:\n\n![{words}]({name})" for name, words in pictures.items()),
    ]
    return "\n\n".join(parts) + "\n"


def columns(measure: Measure, found: Mapping[str, Estimate], judges: Sequence[str]) -> list[str]:
    """One cell a judge, bold where the judge decides."""
    cells = [show(found[judge], measure.promise.unit) if judge in found else "" for judge in judges]
    return [
        f"**{cell}**" if cell and judge in measure.counted else cell for judge, cell in zip(judges, cells, strict=True)
    ]


def by_attribute(found: Mapping[str, Mapping[str, Estimate]]) -> str:
    """A table with a row for each attribute and a column for each judge."""
    attributes = list(dict.fromkeys(name for rates in found.values() for name in rates))
    rows = [
        [name, *(show(rates[name], "rate") if name in rates else "" for rates in found.values())] for name in attributes
    ]
    return table(["attribute", *found], rows)


def show(estimate: Estimate, unit: Unit) -> str:
    """`98.2 % (97.1 to 98.9, n = 912)`."""
    low, high = (number(value, unit).split(" ")[0] for value in (estimate.low, estimate.high))
    return f"{number(estimate.value, unit)} ({low} to {high}, n = {estimate.trials})"


def number(value: float, unit: Unit) -> str:
    """A value with its unit."""
    match unit:
        case "rate":
            return f"{100 * value:.1f} %"
        case "points":
            return f"{100 * value:.1f} points"
        case "dB":
            return f"{value:.2f} dB"
        case "":
            return f"{value:.3f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def matrix(counts: Mapping[str, Mapping[str, int]]) -> Image.Image:
    """A confusion matrix: a row for each told value, a column for each seen one, darker with the row's share.

    `counts` has every told value, and in each of them every value that may be seen.
    """
    columns, cell, margin = list(next(iter(counts.values()))), 40, 110
    picture = Image.new("RGB", (margin + cell * len(columns), margin + cell * len(counts)), "white")
    pen = ImageDraw.Draw(picture)
    for j, seen in enumerate(columns):
        pen.text((margin + cell * j + cell // 2, margin - 8 - 12 * (j % 2)), seen, fill="black", anchor="mb")
    for i, (told, row) in enumerate(counts.items()):
        total = sum(row.values())
        pen.text((margin - 8, margin + cell * i + cell // 2), told, fill="black", anchor="rm")
        for j, seen in enumerate(columns):
            count = row[seen]
            shade = 255 - round(215 * count / total) if total else 255
            x, y = margin + cell * j, margin + cell * i
            pen.rectangle(
                (x, y, x + cell, y + cell),
                fill=(shade, shade, 255) if told == seen else (255, shade, shade),
                outline="#ddd",
            )
            if count:
                pen.text((x + cell // 2, y + cell // 2), str(count), fill="black", anchor="mm")
    return picture
