"""Both judges before a set of clips. What they saw is kept beside the clips, so that each is judged once."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from piying.evaluate import analytic, detectors, flow, paths, stencils
from piying.evaluate.footage import filmed
from piying.evaluate.prompts import Case
from piying.evaluate.sight import Sight
from piying.evaluate.tally import Judged
from piying.theatre.scene import SUBJECTS, Subject
from piying.video import read_frames

TOGETHER = 8  # clips judged at a time

Judge = Callable[[Tensor, Sequence[Case]], list[Sight]]  # clips uint8 [B F H W 3]


def judges(device: str) -> dict[str, tuple[str, Judge]]:
    """Name -> (mark of this version, judge). Raises ModelMissing where the detectors were never trained."""
    network = detectors.read(device=device)

    def detect(clips: Tensor, cases: Sequence[Case]) -> list[Sight]:
        return detectors.look(network, clips)

    def measure(clips: Tensor, cases: Sequence[Case]) -> list[Sight]:
        return analytic.look(clips.to(device), [cast(case.told) for case in cases])

    sources = [Path(str(module.__file__)) for module in (analytic, flow, paths, stencils)]
    return {"detectors": (_mark([detectors.WEIGHTS]), detect), "analytic": (_mark(sources), measure)}


def judge(cases: Sequence[Case], folder: Path, device: str, on_event: Callable[[str], None]) -> list[Judged]:
    """Every clip of a set that is there, judged."""
    clips, court, record = filmed(folder), judges(device), folder / "sights.jsonl"
    lines = [json.loads(line) for line in record.read_text("utf-8").splitlines()] if record.exists() else []
    seen = {(line["judge"], line["mark"], line["clip"]): Sight(**line["sight"]) for line in lines}
    for name, (mark, look) in court.items():
        missing = [i for i in clips if (name, mark, i) not in seen]
        for start in range(0, len(missing), TOGETHER):
            batch = missing[start : start + TOGETHER]
            frames = torch.stack([torch.from_numpy(read_frames(clips[i])) for i in batch])
            with record.open("a", encoding="utf-8") as file:
                for i, sight in zip(batch, look(frames, [cases[i] for i in batch]), strict=True):
                    seen[name, mark, i] = sight
                    line = {"judge": name, "mark": mark, "clip": i, "sight": asdict(sight)}
                    file.write(json.dumps(line) + "\n")
            on_event(f"{folder.name}: {name} judged {start + len(batch)} of {len(missing)}")
    return [Judged(cases[i], {name: seen[name, mark, i] for name, (mark, _) in court.items()}) for i in clips]


def cast(told: Mapping[str, str]) -> list[Subject]:
    """The subjects that are told of."""
    return [subject for key in ("subject", "subject2") for subject in SUBJECTS if told.get(key) == subject]


def _mark(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
