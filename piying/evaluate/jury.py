"""Who looks at the clips of a report, and what they found; each clip is looked at once by each judge."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from piying import ledger
from piying.data import scores
from piying.data.dataset import Clip, Dataset
from piying.data.describe import frames_of
from piying.evaluate import detectors, nearest
from piying.evaluate.asks import Ask
from piying.evaluate.embedding import Embedder, likeness
from piying.evaluate.network import Network
from piying.evaluate.placing import Scale
from piying.files import digest
from piying.video import read_image

SEEN = "seen.jsonl"
NOBODY = "nobody"
CLOSE = 3  # pictures of the gallery that a likeness counts

Facts = dict[str, Any]


class Judge(Protocol):
    """What it finds in a clip uint8 [F H W 3]; `mark` changes with whatever decides it."""

    mark: str

    def see(self, frames: np.ndarray, ask: Ask) -> Facts: ...


class Theatre:
    """The detectors. Of all whom they know they find as many as were told of, the most believed first, or NOBODY; the
    motion of each of them, also of the best guess where there is nobody; and the scene."""

    def __init__(self, network: Network) -> None:
        self.network, self.mark = network, detectors.mark()

    def see(self, frames: np.ndarray, ask: Ask) -> Facts:
        sight = detectors.look(self.network, torch.from_numpy(frames)[None], unseen=True)[0]
        assert sight.presence
        told = [key for key in ("subject", "subject2") if key in ask.told] or ask.names
        best = list(sight.actors)[: max(1, len(told))]
        return {
            "cast": [name if sight.presence[name] > 0 else NOBODY for name in best],
            "motions": [sight.actors[name]["motion"] for name in best],
            **sight.scene,
        }


class Eye:
    """A vision model, and the cast as it sees them: clips that show one of them alone, and reference pictures."""

    def __init__(self, embedder: Embedder, dataset: Dataset, learned: Sequence[Clip], held_out: Sequence[Clip]) -> None:
        self.embedder = embedder
        vectors = {clip.id: embedder.clip(frames_of(dataset.path(clip))) for clip in (*learned, *held_out)}
        self.everything = torch.cat([vectors[clip.id] for clip in learned])
        self.galleries: dict[str, torch.Tensor] = {}
        self.scales: dict[str, Scale] = {}
        for member in dataset.cast:
            own = [clip for clip in learned if clip.names == (member.id,)]
            parts = [vectors[clip.id] for clip in own]
            references = [embedder.pictures([read_image(dataset.folder / path)]) for path in member.references]
            if not (parts := parts + references):
                continue
            self.galleries[member.id] = torch.cat(parts)
            same = [
                likeness(vectors[clip.id], self.galleries[member.id], CLOSE)
                for clip in held_out
                if clip.names == (member.id,)
            ]
            for clip in own:  # each against those of other episodes
                others = [vectors[other.id] for other in own if other.episode != clip.episode]
                if others:
                    same.append(likeness(vectors[clip.id], torch.cat(others), CLOSE))
            if not same:  # against the pictures, and these against each other
                for one in parts:
                    others = [picture for picture in references if picture is not one]
                    if others:
                        same.append(likeness(one, torch.cat(others), CLOSE))
            different = [
                likeness(vectors[clip.id], self.galleries[member.id], CLOSE)
                for clip in (*learned, *held_out)
                if clip.names and member.id not in clip.names  # a caption without names may leave out this very one
            ]
            self.scales[member.id] = Scale(tuple(same), tuple(different))
        self.style = Scale(tuple(likeness(vectors[clip.id], self.everything, CLOSE) for clip in held_out), ())
        self.thresholds = {
            name: threshold for name, scale in self.scales.items() if (threshold := scale.threshold) is not None
        }
        known = [*vectors.items(), *self.galleries.items()]
        decides = b"".join(found.numpy().tobytes() for _, found in known) + repr(self.thresholds).encode()
        shown = hashlib.sha256(decides).hexdigest()[:12]
        self.mark = f"{embedder.mark} {shown}"

    @property
    def knows(self) -> set[str]:
        """Those of the cast (ids) whom it can tell from others."""
        return set(self.thresholds)

    def see(self, frames: np.ndarray, ask: Ask) -> Facts:
        """`near`: of the cast, those who are as like as real clips of them are, the most alike first; one at most for
        each that was named. Who cannot be told from others is left out, and where nobody can, so is `near`."""
        seen = self.embedder.clip(frames)
        scores_ = {name: likeness(seen, gallery, CLOSE) for name, gallery in self.galleries.items()}
        near = [name for name, least in self.thresholds.items() if scores_[name] >= least]
        found: Facts = {
            "scores": {name: round(score, 4) for name, score in scores_.items()},
            "style_place": self.style.place(likeness(seen, self.everything, CLOSE)),
        }
        if self.thresholds:
            found["near"] = sorted(near, key=lambda name: -scores_[name])[: max(1, len(ask.names))]
        if ask.names and ask.names[0] in scores_:
            found["place"] = self.scales[ask.names[0]].place(scores_[ask.names[0]])
        if self.embedder.reads and ask.prompt:
            found["follows"] = float((seen @ self.embedder.text(ask.prompt)).mean())
        return found


class Ruler:
    """What needs no eyes: how much a clip moves, and the coarse picture by which clips are compared."""

    mark = "1"

    def see(self, frames: np.ndarray, ask: Ask) -> Facts:
        moments = np.linspace(0, len(frames) - 1, nearest.MOMENTS).round().astype(int)
        coarse = nearest.coarse(torch.from_numpy(frames[moments])[None])[0]
        return {
            "moved": scores.score(frames, []).motion if len(frames) > 1 else None,
            "coarse": [round(value, 3) for value in coarse.tolist()],
        }


def hear(
    judges: Mapping[str, Judge],
    clips: Mapping[int, Path],
    asks: Mapping[int, Ask],
    folder: Path,
    say: Callable[[str], None],
) -> dict[int, Facts]:
    """What all judges found in each clip; what they found before is read from `folder`, by the content of the clip and
    what was asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    record, found = folder / SEEN, {number: Facts() for number in clips}
    marks = {number: _mark(path, asks[number]) for number, path in clips.items()}
    before = {(line["judge"], line["mark"], line["clip"]): line["found"] for line in ledger.findings(record)}
    for name, judge in judges.items():
        missing = [number for number in clips if (name, judge.mark, marks[number]) not in before]
        for done, number in enumerate(missing, 1):
            facts = judge.see(frames_of(clips[number]), asks[number])
            before[name, judge.mark, marks[number]] = facts
            ledger.add(record, {"judge": name, "mark": judge.mark, "clip": marks[number], "found": facts})
            if done % 8 == 0 or done == len(missing):
                say(f"{folder.name}: {name} looked at {done} of {len(missing)}")
        for number in clips:
            found[number] |= before[name, judge.mark, marks[number]]
    return found


def _mark(clip: Path, ask: Ask) -> str:
    """A clip and what a judge is told of it."""
    told = json.dumps([ask.prompt, ask.names, dict(ask.told)])
    return f"{clip.stem} {digest(clip)[:16]} {hashlib.sha256(told.encode()).hexdigest()[:8]}"
