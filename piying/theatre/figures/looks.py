"""What each style makes of the paints: their colours, and the marks that it brushes, carves or stitches into them."""

import numpy as np

from piying.theatre.figures.paper import (
    CREAM,
    DARK,
    GLASS,
    GOLD,
    HAIR,
    INK,
    MAIN,
    SEAM,
    SHADE,
    SKIN,
    TINT,
    WOOD,
    Paint,
)
from piying.theatre.scene import Colour, Style, UnseenStyle

RGB = tuple[int, int, int]

COLOURS: dict[Colour, RGB] = {
    "red": (212, 38, 44),
    "orange": (242, 128, 24),
    "yellow": (250, 212, 40),
    "green": (48, 156, 76),
    "blue": (40, 98, 206),
    "purple": (124, 56, 168),
    "pink": (246, 142, 184),
    "white": (248, 246, 240),
    "black": (38, 36, 44),
}
MATERIALS: dict[Paint, RGB] = {
    INK: (50, 36, 32),
    CREAM: (252, 244, 224),
    DARK: (62, 52, 54),
    GOLD: (236, 184, 66),
    SKIN: (250, 210, 176),
    HAIR: (54, 40, 42),
    GLASS: (200, 228, 236),
    WOOD: (156, 104, 64),
}
SHADOW: dict[Paint, RGB] = {  # a lamp shines through what is cut out
    **dict.fromkeys(Paint, (30, 20, 20)),
    **dict.fromkeys((CREAM, GOLD, GLASS, SEAM), (255, 206, 122)),
    SHADE: (50, 32, 28),
    TINT: (96, 54, 36),
    SKIN: (158, 98, 56),
}
OUTLINE: dict[Style | UnseenStyle, float] = {  # in percent of the puppet's height
    "paper": 1.8,
    "cartoon": 3.8,
    "ink": 2.8,
    "black_and_white": 2.2,
    "shadow": 1.2,
    "woodcut": 3.2,
    "embroidery": 2.4,
}


def palette(colour: Colour, style: Style | UnseenStyle) -> np.ndarray:
    """The premultiplied RGBA of each paint, float32 [K 4] in 0..1."""
    main = np.array(COLOURS[colour], float)
    paints = {paint: np.array(rgb, float) for paint, rgb in MATERIALS.items()}
    paints |= {MAIN: main, SHADE: 0.72 * main, TINT: 0.6 * main + 100, SEAM: 0.66 * main}
    if colour == "black":  # layers of black paper show by their lighter edges
        paints |= {INK: main + 110, SHADE: main + 34, TINT: main + 62, DARK: main + 46, SEAM: main + 80}
    elif colour == "white":
        paints |= {SHADE: 0.86 * main, TINT: 0.93 * main}
    if style == "shadow":
        paints = {paint: np.array(rgb, float) for paint, rgb in SHADOW.items()}
    elif style == "black_and_white":
        paints = {paint: np.full(3, rgb @ (0.299, 0.587, 0.114)) for paint, rgb in paints.items()}
    elif style == "ink":
        paints = {paint: 0.75 * rgb + 0.25 * rgb.mean() for paint, rgb in paints.items()}
    table = np.zeros((len(Paint), 4), np.float32)
    for paint, rgb in paints.items():
        table[paint] = (*rgb.clip(0, 255) / 255, 1)
    table[Paint.NONE] = 0
    return table


def carve(labels: np.ndarray, style: Style | UnseenStyle, fine: float) -> np.ndarray:
    """Fine labels [P H W] with the marks of a style; `fine` is pixels per percent of the puppet's height."""
    height, width = labels.shape[1:]
    y, x = (np.arange(height)[:, None] + 0.5 - height / 2) / fine, (np.arange(width) + 0.5 - width / 2) / fine
    match style:
        case "paper" | "black_and_white":
            return _fold(labels, fine)
        case "ink":
            return _brush(labels, x, y, fine)
        case "woodcut":
            return _hatch(labels, x, y)
        case "embroidery":
            return _stitch(labels, x, y)
    return labels


def _fold(labels: np.ndarray, fine: float) -> np.ndarray:
    """Paper with a thickness: edges lit from the upper left."""
    step = max(1, round(0.8 * fine))
    lower, upper = np.roll(labels, (-step, -step), (1, 2)), np.roll(labels, (step, step), (1, 2))
    main = labels == MAIN
    return _mark(labels, (main & (upper <= INK), TINT), (main & (lower <= INK), SHADE))


def _brush(labels: np.ndarray, x: np.ndarray, y: np.ndarray, fine: float) -> np.ndarray:
    """Ink wash: an unsteady hand, a line that dries out, watery clouds of colour."""
    height, width = labels.shape[1:]
    dy = 0.7 * np.sin(0.33 * x + 1.3 * np.sin(0.21 * y)) + 0.3 * np.sin(0.7 * x + 0.6 * y)
    dx = 0.7 * np.sin(0.29 * y + 1.7 * np.sin(0.26 * x)) + 0.3 * np.sin(0.6 * y - 0.7 * x)
    rows = np.rint((y + dy) * fine + height / 2 - 0.5).astype(int).clip(0, height - 1)
    columns = np.rint((x + dx) * fine + width / 2 - 0.5).astype(int).clip(0, width - 1)
    labels = labels.reshape(len(labels), -1).take(rows * width + columns, axis=1)
    # shares below are dithered over the 4 x 4 fine pixels of a texel, which average to them
    order = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16
    threshold = np.tile(order, (height // 4, width // 4))
    water = 0.35 + 0.25 * np.sin(0.13 * x + 2 * np.sin(0.07 * y)) + 0.25 * np.sin(0.17 * y - 0.08 * x)
    dryness = 0.2 + 0.4 * np.sin(0.12 * x + 0.09 * y + np.sin(0.17 * x - 0.11 * y))
    washed, dried = (labels == MAIN) & (water > threshold), (labels == INK) & (dryness > threshold)
    return _mark(labels, (washed, TINT), (dried, Paint.NONE))


def _hatch(labels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Woodcut: grooves that widen away from the light, dense on shaded paper."""
    groove = (x + y + 0.8 * np.sin(0.2 * (x - y))) / 7 % 1
    cut = ((labels == MAIN) & (groove < 0.14 + 0.004 * (x + y))) | ((labels == SHADE) & (groove < 0.45))
    return _mark(labels, (cut | (labels == SEAM), INK))


def _stitch(labels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Embroidery: slanted satin stitch, and a cord around it."""
    along, across = (x + y) / 16, (x - y) / 4.6
    thread = np.floor(across)
    gap = (across - thread < 0.25) | ((along + 0.37 * thread) % 1 < 0.09)
    gleam = (across - thread > 0.5) & (across - thread < 0.8)
    main, cord = labels == MAIN, (labels == INK) & (along * 4 % 1 < 0.4)
    return _mark(labels, (main & gleam, TINT), (main & gap, SHADE), (cord, SHADE))


def _mark(labels: np.ndarray, *marks: tuple[np.ndarray, Paint]) -> np.ndarray:
    """A copy of the labels with each mask in its paint, the last above the others."""
    labels = labels.copy()
    for mask, paint in marks:
        labels[mask] = paint
    return labels
