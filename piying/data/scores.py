"""What can be measured of a clip: is it sharp, does it move, is something written on it, has it been seen before.

Frames are uint8 [F H W 3]; a look is what is kept of a frame to know it again, 256 bits.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image

READING = 270  # rows of a picture in which writing is looked for
_STROKE = 60  # of 255: how much lighter than what is on both sides a stroke is
_BRIGHT = 170
_LOWER = 0.55  # subtitles lie below this share of the height
_CLEARLY = 2  # of 255: more than the noise of an encoder on an even wall
_STROKES = 9  # in a row of writing
_UPRIGHT = 0.6  # of its columns of strokes go through from its top to its foot


@dataclass(frozen=True)
class Scores:
    sharpness: float  # how much of the contrast is fine detail, 0 to 1
    motion: float  # mean change from frame to frame, of 255
    text: float  # share of the pictures with a line of writing in their lower part
    contrast: float  # of the pictures' light, of 255: 0 where there is nothing to see


def score(frames: np.ndarray, readable: list[np.ndarray]) -> Scores:
    """`readable` are some of the pictures, READING rows high where the source has so many."""
    light = [_light(frame) for frame in frames]
    steps = [np.abs(b - a).mean() for a, b in pairwise(light)]
    return Scores(
        sharpness=round(float(np.median([_sharpness(picture) for picture in light[:: max(len(light) // 8, 1)]])), 4),
        motion=round(float(np.mean(steps)) if steps else 0.0, 3),
        text=round(_written([_light(picture) for picture in readable]), 2),
        contrast=round(float(max(picture.std() for picture in light)), 2),
    )


def look(frame: np.ndarray) -> np.ndarray:
    """A difference hash, bool [256]: whether each of 16x16 places is clearly lighter than the one to its right."""
    small = Image.fromarray(frame).convert("L").resize((17, 16), Image.Resampling.BOX)
    grey = np.asarray(small, np.int16)
    return (grey[:, :-1] > grey[:, 1:] + _CLEARLY).ravel()


def _light(picture: np.ndarray) -> np.ndarray:
    return picture @ np.array([0.2126, 0.7152, 0.0722], np.float32)


def _sharpness(light: np.ndarray) -> float:
    """The contrast of a Laplacian beside the contrast of the picture."""
    middle = light[1:-1, 1:-1]
    fine = 4 * middle - light[:-2, 1:-1] - light[2:, 1:-1] - light[1:-1, :-2] - light[1:-1, 2:]
    return float(fine.std() / (8 * middle.std() + 1))


def _written(pictures: list[np.ndarray]) -> float:
    """The share of pictures that hold a line of writing which the next or the last picture holds too."""
    strokes = [_strokes(picture) for picture in pictures]
    if len(strokes) == 1:
        return float(_is_line(strokes[0]))
    together = [_is_line(a & b) for a, b in pairwise(strokes)]
    lasting = [any(together[max(i - 1, 0) : i + 1]) for i in range(len(strokes))]
    return float(np.mean(lasting)) if lasting else 0.0


def _strokes(light: np.ndarray) -> np.ndarray:
    """Where the lower part of a picture is bright, and much darker a little to the left and to the right; bool."""
    lower = light[int(_LOWER * len(light)) :]
    reach = max(len(light) // 45, 2)  # pixels: wider than the strokes of subtitles, narrower than what is not one
    padded = np.pad(lower, ((0, 0), (reach, reach)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=1)
    left, right = windows[:, : lower.shape[1]].min(-1), windows[:, reach + 1 :].min(-1)
    return (lower > _BRIGHT) & (lower - np.maximum(left, right) > _STROKE)


def _is_line(strokes: np.ndarray) -> bool:
    """Whether some rows together hold many strokes that are not all upright, as those of windows and fences are, and
    the rows above and below hold few."""
    begins = strokes & ~np.pad(strokes, ((0, 0), (1, 0)))[:, :-1]
    rows = begins.sum(1)
    tall = len(rows) / (1 - _LOWER)
    full = np.concatenate(([False], rows >= _STROKES, [False])).astype(np.int8)
    starts, ends = np.flatnonzero(np.diff(full) == 1), np.flatnonzero(np.diff(full) == -1)
    for start, end in zip(starts, ends, strict=True):
        margin = max(int(0.02 * tall), 1)
        above, below = rows[max(start - 2 * margin, 0) : max(start - margin, 0)], rows[end + margin : end + 2 * margin]
        quiet = max(above.mean() if len(above) else 0, below.mean() if len(below) else 0) < 0.3 * rows[start:end].mean()
        line = strokes[start + 1 : end - 1] if end - start > 4 else strokes[start:end]
        upright = line.all(0).sum() / max(line.any(0).sum(), 1)
        if 0.02 * tall <= end - start <= 0.14 * tall and quiet and upright < _UPRIGHT:
            return True
    return False
