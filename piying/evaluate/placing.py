"""Where a score lies between those of real pairs: the same character in two clips, and two characters."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

APART = 0.9  # the least area at which a score tells the same from others


@dataclass(frozen=True)
class Scale:
    """Scores of real pairs, higher where they are more alike."""

    same: tuple[float, ...]
    different: tuple[float, ...]

    @property
    def auc(self) -> float | None:
        """How often a same pair scores above a different one, ties half (the area under the ROC curve, Hanley and
        McNeil 1982, Radiology 143); None where a kind is missing."""
        if not self.same or not self.different:
            return None
        ordered = sorted(self.different)
        wins = sum(bisect_left(ordered, score) + bisect_right(ordered, score) for score in self.same) / 2
        return wins / (len(self.same) * len(ordered))

    @property
    def threshold(self) -> float | None:
        """The score from which on it is called the same: where the true and the false rate are furthest apart
        (Youden 1950, Cancer 3, p. 32); None where a kind is missing or the area is below APART."""
        if self.auc is None or self.auc < APART:
            return None

        def apart(score: float) -> float:
            true = sum(one >= score for one in self.same) / len(self.same)
            return true - sum(one >= score for one in self.different) / len(self.different)

        return max(sorted(self.same), key=apart)

    def place(self, score: float) -> float | None:
        """The share of same pairs that score no higher, 0..1: 0.5 is as like as real clips are; None without those."""
        return sum(one <= score for one in self.same) / len(self.same) if self.same else None
