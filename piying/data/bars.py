"""Black bars around a picture, and what of it is left without them."""

from dataclasses import dataclass

import numpy as np

_BLACK = 32  # of 255: what an encoder lets a bright edge throw into a bar stays below it (31 at most in 20 of them)
_ALWAYS = 0.98  # of the pictures that show anything
_HALF = 0.45  # of a side at most is taken away at each end


@dataclass(frozen=True)
class Box:
    """A part of a picture, in shares of its sides: 0 to 1 from the top and from the left."""

    top: float = 0.0
    left: float = 0.0
    bottom: float = 1.0
    right: float = 1.0

    def within(self, aspect: float, shape: float) -> "Box":
        """The largest part around the centre whose width is `aspect` of its height; `shape` is that of the picture."""
        height, width = self.bottom - self.top, (self.right - self.left) * shape
        wide, tall = min(width, height * aspect) / shape, min(height, width / aspect)
        left, top = (self.left + self.right - wide) / 2, (self.top + self.bottom - tall) / 2
        return Box(top, left, top + tall, left + wide)

    def size(self, of: tuple[int, int]) -> tuple[float, float]:
        """Its height and width in a picture of that size, in pixels."""
        return (self.bottom - self.top) * of[0], (self.right - self.left) * of[1]

    @property
    def area(self) -> float:
        """Its share of the picture."""
        return (self.bottom - self.top) * (self.right - self.left)


class Bars:
    """Takes pictures of a film and then tells what lies between bars that are black in nearly all of them.

    Bars come in pairs: only as much is taken from an edge as from the one across, so that a dark floor stays.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._dark = np.zeros(size[0]), np.zeros(size[1])  # in how many pictures each row, each column is black
        self._seen = 0

    def see(self, picture: np.ndarray) -> None:
        """uint8 [H W 3] of the size that was told."""
        black = picture.max(-1) <= _BLACK
        if black.mean() < 0.98:
            self._seen += 1
            for axis, dark in enumerate(self._dark):
                dark += black.mean(1 - axis) >= 0.995

    def inside(self) -> Box:
        """What to keep; a pixel more than the bars is taken, for edges are seldom sharp."""
        (top, bottom), (left, right) = (self._margins(dark) for dark in self._dark)
        return Box(top, left, bottom, right)

    def _margins(self, dark: np.ndarray) -> tuple[float, float]:
        lit = np.flatnonzero(dark < _ALWAYS * max(self._seen, 1))
        bar = int(min(lit[0], len(dark) - 1 - lit[-1])) if len(lit) else 0
        if not 0 < bar < _HALF * len(dark):
            return 0.0, 1.0
        return (bar + 1) / len(dark), 1 - (bar + 1) / len(dark)
