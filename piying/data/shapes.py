"""Which lengths and sizes of clips a model takes, and which of them suit a shot."""

import math
from dataclasses import dataclass

from piying.config import ModelConfig
from piying.errors import UsageError

_WIDEST = 2.6  # of width over height, or the other way round


@dataclass(frozen=True)
class Window:
    """A clip in a shot: its first moment in seconds, and how many frames."""

    start: float
    frames: int


def step(config: ModelConfig) -> int:
    """Lengths are a multiple of this and one: two latent frames for each patch in time."""
    return 8 * config.transformer.patch[0]


def check_frames(frames: int, config: ModelConfig) -> None:
    """Raises UsageError for a length that the model does not take, or that is one picture."""
    length = step(config)
    if frames <= length or frames % length != 1:
        near = max(round((frames - 1) / length), 1) * length + 1
        raise UsageError(f"frames={frames}: use {length}n+1, e.g. {near}")


def windows(start: float, seconds: float, fps: float, most: int, shortest: int) -> list[Window]:
    """Clips that follow each other through a shot: as many of the length `most` as fit, then what is left as one of a
    shorter length. `seconds` lie between the first and the last picture. None where even the shortest does not fit.

    `most` and `shortest` are lengths of one model: shortest - 1 is its step.
    """
    frames = math.floor(seconds * fps + 1e-3) + 1
    found = [Window(start + n * most / fps, most) for n in range(frames // most)]
    left = frames % most
    length = (left - 1) // (shortest - 1) * (shortest - 1) + 1
    if length >= shortest:
        found.append(Window(start + frames // most * most / fps, length))
    return found


def sizes(config: ModelConfig) -> list[tuple[int, int]]:
    """The sizes (height, width) of about the area that the model was trained on, its own size first."""
    if config.transformer.positions == "rope+learned":
        return [config.size]
    cell = 8 * config.transformer.patch[1]
    area = config.size[0] * config.size[1]
    ladder = [
        (height, width)
        for height in range(cell, math.isqrt(int(area * _WIDEST)) + cell, cell)
        if 1 / _WIDEST <= (width := round(area / height / cell) * cell) / height <= _WIDEST
    ]
    return [config.size, *(size for size in ladder if size != config.size)]


def nearest(shape: float, sizes: list[tuple[int, int]]) -> tuple[int, int]:
    """The size whose width over height is most like the shape, so that the least is cut off."""
    return min(sizes, key=lambda size: round(abs(math.log(size[1] / size[0] / shape)), 3))
