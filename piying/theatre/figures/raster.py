"""Figures as pixels: which paint covers which share of each pixel."""

import numpy as np
from PIL import Image, ImageDraw

from piying.theatre.figures.paper import INK, Figure

OVERSAMPLE = 4


def reach(figure: Figure) -> float:
    """Half the side of the square that a texture shows, in percent of the height: every part at rest, and a margin."""
    return max(abs(shape.points).max() for part in figure.parts for shape in part.shapes) + 6


def labels(figure: Figure, resolution: int, outline: float) -> np.ndarray:
    """The paint of each fine pixel, uint8 [P 4S 4S] for S = `resolution`, with an `outline` in percent."""
    side = OVERSAMPLE * resolution
    scale = side / (2 * reach(figure))
    sheets = []
    for part in figure.parts:
        sheet = Image.new("L", (side, side))
        pen = ImageDraw.Draw(sheet)
        outlines = [[tuple(point) for point in shape.points * scale + side / 2] for shape in part.shapes]
        for shape, points in zip(part.shapes, outlines, strict=True):
            if shape.edge:
                pen.line([*points, *points[:2]], fill=INK, width=round(2 * outline * scale), joint="curve")
        for shape, points in zip(part.shapes, outlines, strict=True):
            pen.polygon(points, fill=shape.paint)
        sheets.append(np.array(sheet))
    return np.stack(sheets)


def coverage(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The paints [K] in fine labels [P 4S 4S], and how many fine pixels of each fill a pixel, uint8 [P K S S]."""
    present = np.flatnonzero(np.bincount(labels.ravel()))
    masks = ((labels == paint).view(np.uint8) for paint in present)
    return present, np.stack([_pool(_pool(mask, 1), 2) for mask in masks], 1)


def _pool(counts: np.ndarray, axis: int) -> np.ndarray:
    """Sums of neighbours, OVERSAMPLE at a time; slices add up faster than a reduction of short axes."""
    slices = (slice(None),) * axis
    return sum((counts[*slices, i::OVERSAMPLE] for i in range(1, OVERSAMPLE)), counts[*slices, ::OVERSAMPLE])
