"""Where a film cuts from one shot to the next.

A shot detector of two measures and one rule, on the pictures that PyAV decodes anyway: PySceneDetect does the like, and
imports OpenCV for it. Pictures are uint8 [h w 3], all of the small LOOK; F is frames.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

LOOK = (36, 64)
_FLOOR = 0.12  # of difference: less is never a cut
_STANDS_OUT = 1.7  # times what else happens about then
_ABOUT = 0.5  # seconds to each side
_FLASH = 2  # pictures: what is as before after so many was no cut
_DARK = 14  # of 255: pictures that are nothing but dark or one colour part two shots that fade
_FLAT = 3
_GAP = 1.1  # seconds without a picture: what comes after it is another shot


@dataclass(frozen=True)
class Glance:
    """A picture as it is compared."""

    places: np.ndarray  # int16 [h w 3]
    colours: np.ndarray  # the share of each of 4x4x4 colours

    def unlike(self, other: "Glance") -> float:
        """0 to 1: half of it the colours wherever they stand, half what stands where."""
        colours = np.abs(self.colours - other.colours).sum() / 2
        places = np.abs(self.places - other.places).mean() / 255
        return float(colours + min(1.0, 3 * places)) / 2


class Shots:
    """Takes the pictures of a film one by one, and then tells its shots."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._steps: list[list[float]] = []  # how unlike a picture is the one before, the second, the third before it
        self._blank: list[bool] = []
        self._recent: list[Glance] = []  # the last one first

    def see(self, time: float, picture: np.ndarray) -> None:
        """`time` is in seconds."""
        seen = glance(picture)
        self._times.append(time)
        self._steps.append([seen.unlike(before) for before in self._recent])
        self._recent = [seen, *self._recent[:_FLASH]]
        luma = picture.mean(-1)
        self._blank.append(bool(luma.std() < _FLAT or np.quantile(luma, 0.99) < _DARK))

    def shots(self) -> list[tuple[int, int]]:
        """The first picture of each shot and the first after it; blank pictures at the ends of shots are left out."""
        count, about = len(self._times), self._about()
        steps = np.array([step[0] if step else 0.0 for step in self._steps])
        gaps = np.diff(self._times, prepend=self._times[0]) > _GAP
        edges = [0, *(i for i in range(1, count) if gaps[i] or self._is_cut(i, steps, about)), count]
        return [shot for edge in pairwise(edges) for shot in self._lit(*edge)]

    def _is_cut(self, i: int, steps: np.ndarray, about: int) -> bool:
        """Whether a step is large, larger than all about it but perhaps two, which may be cuts too, and lasts."""
        others = np.delete(steps[max(i - about, 1) : i + about + 1], min(i - 1, about))
        usual = np.sort(others)[-3] if len(others) > 2 else 0.0
        if steps[i] <= max(_FLOOR, _STANDS_OUT * usual):
            return False
        after = [self._steps[i + n][n] for n in range(1, _FLASH + 1) if i + n < len(steps)]
        return min(self._steps[i] + after) > max(_FLOOR, 0.5 * steps[i])

    def _about(self) -> int:
        """How many pictures to each side are compared."""
        seconds = self._times[-1] - self._times[0]
        return max(6, round(_ABOUT * (len(self._times) - 1) / seconds)) if seconds else 6

    def _lit(self, begin: int, end: int) -> list[tuple[int, int]]:
        """A shot parted by its blank pictures."""
        lit = [i for i in range(begin, end) if not self._blank[i]]
        parts: list[tuple[int, int]] = []
        for i in lit:
            if parts and parts[-1][1] == i:
                parts[-1] = parts[-1][0], i + 1
            else:
                parts.append((i, i + 1))
        return parts or [(begin, end)]  # all blank: one shot, to be judged as such


def glance(picture: np.ndarray) -> Glance:
    return Glance(picture.astype(np.int16), _colours(picture))


def _colours(picture: np.ndarray) -> np.ndarray:
    """The shares of 4x4x4 colours; a pixel counts for the two nearest shades of each channel, so that a little more
    light moves little."""
    shade = picture.reshape(-1, 3) * (3 / 255)
    lower = np.minimum(shade.astype(np.int8), 2)
    above = shade - lower
    shares = np.zeros(64)
    for corner in range(8):
        bits = np.array([corner >> 2 & 1, corner >> 1 & 1, corner & 1])
        weight = np.where(bits, above, 1 - above).prod(1)
        shares += np.bincount((lower + bits) @ [16, 4, 1], weight, 64)
    return shares / len(shade)
