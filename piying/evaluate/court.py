"""Both judges before a set of clips. What they saw is kept beside the clips, so that each is judged once."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from piying import ledger
from piying.evaluate import analytic, detectors, flow, paths, stencils
from piying.evaluate.footage import filmed
from piying.evaluate.prompts import Case
from piying.evaluate.sight import Sight
from piying.evaluate.tally import Judged
from piying.theatre.scene import SUBJECTS, Subject
from piying.video import read_frames

TOGETHER = 8  # clips judged at a time

Judge = Callable[[Tensor, Sequence[Case]], list[Sight]]  # clips uint8 [B F H W 3]
Court = Mapping[str, tuple[str, Judge]]  # name -> mark of its version, judge


def judges(device: str) -> Court:
    """Both judges; the analytic one alone where the detectors were never trained."""

    def measure(clips: Tensor, cases: Sequence[Case]) -> list[Sight]:
        return analytic.look(clips.to(device), [cast(case.told) for case in cases])

    sources = [Path(str(module.__file__)) for module in (analytic, flow, paths, stencils)]
    written = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    court: Court = {"analytic": (written, measure)}
    if not detectors.WEIGHTS.exists():
        return court
    network = detectors.read(device=device)

    def detect(clips: Tensor, cases: Sequence[Case]) -> list[Sight]:
        return detectors.look(network, clips)

    return {"detectors": (detectors.mark(), detect), **court}


def judge(court: Court, cases: Sequence[Case], folder: Path, on_event: Callable[[str], None]) -> list[Judged]:
    """Every clip of a set that is there, judged."""
    clips, record = filmed(folder), folder / "sights.jsonl"
    seen = {(line["judge"], line["mark"], line["clip"]): Sight(**line["sight"]) for line in ledger.findings(record)}
    for name, (mark, look) in court.items():
        missing = [i for i in clips if (name, mark, i) not in seen]
        for start in range(0, len(missing), TOGETHER):
            batch = missing[start : start + TOGETHER]
            frames = torch.stack([torch.from_numpy(read_frames(clips[i])) for i in batch])
            for i, sight in zip(batch, look(frames, [cases[i] for i in batch]), strict=True):
                seen[name, mark, i] = sight
                ledger.add(record, {"judge": name, "mark": mark, "clip": i, "sight": asdict(sight)})
            on_event(f"{folder.name}: {name} judged {start + len(batch)} of {len(missing)}")
    return [Judged(cases[i], {name: seen[name, mark, i] for name, (mark, _) in court.items()}) for i in clips]


def cast(told: Mapping[str, str]) -> list[Subject]:
    """The subjects that are told of."""
    return [subject for key in ("subject", "subject2") for subject in SUBJECTS if told.get(key) == subject]
