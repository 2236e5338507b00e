"""What was cut from each file of footage, kept in the dataset folder, so that no file is decoded twice."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from piying.data.dataset import write_whole
from piying.data.scores import Scores
from piying.data.sidecars import Caption
from piying.errors import PiyingError

WORK = ".prep"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """One clip as it was cut, whether it is kept or not."""

    id: str
    file: str  # a name in media/ or dropped/
    shot: int  # of the source, from 1
    frames: int
    size: tuple[int, int]
    start: float  # seconds into the source
    end: float
    enlarged: float  # how many times its pixels were made larger than those of the source
    short: str  # why it is one picture of a shot, where the shot is too short for more
    scores: Scores
    looks: tuple[str, ...]  # of each frame, in hexadecimal
    sha256: str
    outside: float = 0.0  # the share of the picture that was cut away for the shape, bars not counted

    def bits(self) -> np.ndarray:
        """The looks as bool [F 256]."""
        return np.unpackbits(np.frombuffer(bytes.fromhex("".join(self.looks)), np.uint8)).reshape(-1, 256).astype(bool)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One file of footage."""

    source: str
    episode: str
    stamp: tuple[int, int]  # bytes, and nanoseconds of its last change
    recipe: dict[str, Any]  # what the cuts depend on besides the file
    prefix: str  # of the ids of its clips
    captions: tuple[Caption, ...]
    faults: tuple[str, ...]
    cuts: tuple[Cut, ...]
    sha256: str  # of the file


def hexadecimal(looks: Sequence[np.ndarray]) -> tuple[str, ...]:
    return tuple(np.packbits(look).tobytes().hex() for look in looks)


def read_all(folder: Path) -> list[Record]:
    """Every record of a dataset folder, by episode. Raises PiyingError for one that is broken."""
    records = []
    for path in (folder / WORK).glob("*.source.json"):
        try:
            records.append(_record(json.loads(path.read_text("utf-8"))))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise PiyingError(f"{path}: cannot be read ({error}); delete it and run piying prep again") from None
    return sorted(records, key=lambda record: (record.episode, record.source))


def write(folder: Path, record: Record) -> None:
    """The record takes its place once all of its clips lie in the folder."""
    write_whole(folder / WORK / f"{record.prefix}.source.json", json.dumps(asdict(record), ensure_ascii=False))


def _record(fields: dict[str, Any]) -> Record:
    cuts = (
        Cut(**{**cut, "size": tuple(cut["size"]), "looks": tuple(cut["looks"]), "scores": Scores(**cut["scores"])})
        for cut in fields["cuts"]
    )
    captions = (Caption(**caption) for caption in fields["captions"])
    changed = {"stamp": tuple(fields["stamp"]), "faults": tuple(fields["faults"])}
    return Record(**{**fields, **changed, "captions": tuple(captions), "cuts": tuple(cuts)})
