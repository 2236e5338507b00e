"""Clips that show again what an earlier clip showed: openings, recaps, the same file twice.

A clip is a repeat where most of its looks are found again in another shot, in step with time, and nothing else moves
there: someone else before the same still camera is no repeat, and another title over the same opening is one. F frames,
S of them looked at; looks are difference hashes, bool [F 256] of 16x16 places.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_SAMPLES = 7  # looks of a clip that are searched for
_BLOCK = 64  # clips whose middles are searched for at once: one product of matrices
_STRAY = 4  # bits of a block of 4x4 places that may differ now and then
_SHARE = 0.2  # of the bits that are set in either of two looks; an even wall sets none


@dataclass(frozen=True)
class Seen:
    """A clip to be compared."""

    id: str
    shot: str  # parts of one shot are never repeats of each other
    looks: np.ndarray


def repeats(clips: Sequence[Seen]) -> dict[str, str]:
    """The id of each repeat, with the first clip that showed the same. A clip is compared with all before it, but a
    picture with pictures alone."""
    found: dict[str, str] = {}
    for moving in (False, True):
        kind = [clip for clip in clips if (len(clip.looks) > 1) == moving]
        if kind:
            found |= _among(kind)
    return found


def _among(clips: Sequence[Seen]) -> dict[str, str]:
    found: dict[str, str] = {}
    looks = np.concatenate([clip.looks for clip in clips]).astype(np.float32)
    middles = np.stack([clip.looks[len(clip.looks) // 2] for clip in clips])
    ends = np.cumsum([len(clip.looks) for clip in clips])
    for first in range(0, len(clips), _BLOCK):
        block = clips[first : first + _BLOCK]
        alike = _alike(middles[first : first + _BLOCK], looks[: ends[first + len(block) - 1]])
        for clip, end, row in zip(block, ends[first:], alike, strict=False):
            before = np.flatnonzero(row[: end - len(clip.looks)])
            for candidate in np.unique(np.searchsorted(ends, before, side="right")):
                other = clips[candidate]
                if other.id not in found and other.shot != clip.shot and _again(clip.looks, other.looks):
                    found[clip.id] = other.id
                    break
    return found


def _again(clip: np.ndarray, other: np.ndarray) -> bool:
    """Whether the looks of a clip are looks of the other, as far apart as there, give or take a frame."""
    at = np.unique(np.linspace(0, len(clip) - 1, _SAMPLES).round().astype(int))
    alike = np.pad(_alike(clip[at], other.astype(np.float32)), ((0, 0), (1, 1)))
    alike = alike[:, :-2] | alike[:, 1:-1] | alike[:, 2:]
    found = []
    for offset in range(-(len(clip) // 2), len(other) - len(clip) // 2):
        inside = np.flatnonzero((at + offset >= 0) & (at + offset < len(other)))
        if 2 * len(inside) > len(at) and alike[inside, at[inside] + offset].all():
            found.append(_unlike(clip[at[inside]], other, at[inside] + offset))
    if not found:
        return False
    best = min(found, key=lambda unlike: (-len(unlike), unlike.sum()))
    moving = best & (best.mean(0) < 0.5)  # what is unlike most of the time stands still, as a title does
    return bool(moving.reshape(-1, 4, 4, 4, 4).sum((2, 4)).max() <= _STRAY)


def _unlike(looks: np.ndarray, other: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Where looks differ from the other's at those frames, or beside them where that is nearer; bool [S 256]."""
    near = np.clip(at[:, None] + (-1, 0, 1), 0, len(other) - 1)
    unlike = looks[:, None] ^ other[near]
    return unlike[np.arange(len(at)), unlike.sum(2).argmin(1)]


def _alike(few: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Which looks are the same picture to an eye, bool [S F]; `many` are float32 zeros and ones."""
    both = few.astype(np.float32) @ many.T
    either = few.sum(1)[:, None] + many.sum(1) - both
    return (either > 0) & (either - both <= _SHARE * either)
