"""One file of footage becomes clips: once through it for its cuts and bars, once more for its frames."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from piying.config import ModelConfig
from piying.data import cuts as shot_detector
from piying.data import footage, scores, shapes
from piying.data.bars import Bars, Box
from piying.data.dataset import MEDIA
from piying.data.footage import Footage
from piying.data.record import Cut, Record, hexadecimal
from piying.data.shapes import Window
from piying.data.sources import Source
from piying.errors import PiyingError
from piying.files import digest, replacing
from piying.video import Video

THUMBNAILS = "review"
_VERSION = 1  # of all that decides how footage is cut; with another one, it is cut anew
_BAR_ROWS = 180  # of the pictures in which bars are looked for
_BAR_SECONDS = 0.25  # from one of them to the next
_READ = 9  # pictures of a clip in which writing is looked for
_THUMBNAIL = 108  # rows

Rgb = Callable[[tuple[int, int]], np.ndarray]  # the whole picture at a size


@dataclass(frozen=True)
class Recipe:
    """What clips are to be like."""

    fps: int
    frames: int  # at most
    shortest: int
    sizes: tuple[tuple[int, int], ...]

    def facts(self) -> dict[str, Any]:
        """As JSON has them."""
        return {**asdict(self), "sizes": [list(size) for size in self.sizes], "version": _VERSION}


def recipe(config: ModelConfig, frames: int | None) -> Recipe:
    """What a model was trained on. Raises UsageError for a length that it does not take."""
    frames = frames or config.frames
    shapes.check_frames(frames, config)
    return Recipe(config.fps, frames, shapes.step(config) + 1, tuple(shapes.sizes(config)))


@dataclass(frozen=True)
class Plan:
    """A clip, before its frames are there."""

    shot: int  # from 1
    window: Window
    wanted: tuple[int, ...]  # which picture of the file is shown in each frame
    short: str = ""


def cut(source: Source, stamp: tuple[int, int], prefix: str, recipe: Recipe, folder: Path) -> Record:
    """The clips of a file, written into the dataset folder. Raises Unreadable; PiyingError where the disk refuses."""
    film = Footage(source.path)
    if source.path.suffix.lower() in footage.IMAGES:
        found = [_image(source.path, prefix, recipe, folder)]
    else:
        found = list(_clips(film, prefix, recipe, folder))
    return Record(
        source=str(source.path.resolve()),
        episode=source.episode,
        stamp=stamp,
        recipe=recipe.facts(),
        prefix=prefix,
        captions=source.captions,
        faults=tuple(film.faults),
        cuts=tuple(found),
        sha256=digest(source.path),
    )


def _image(path: Path, prefix: str, recipe: Recipe, folder: Path) -> Cut:
    picture = footage.still(path)
    shape = picture.shape[1] / picture.shape[0]
    size = shapes.nearest(shape, list(recipe.sizes))
    box = Box().within(size[1] / size[0], shape)
    rgb = partial(footage.scaled, picture)
    form = picture.shape[:2]
    frames, readable = crop(rgb, box, size)[None], [crop(rgb, box, _readable(box, form))]
    plan, enlarged = Plan(1, Window(0.0, 1), (0,)), size[0] / box.size(form)[0]
    return _keep(plan, f"{prefix}-0001", frames, readable, enlarged, 1 - box.area, recipe, folder)


def _clips(film: Footage, prefix: str, recipe: Recipe, folder: Path) -> Iterator[Cut]:
    times, shots, inside, form = _survey(film)
    shape = form[1] / form[0]
    height, width = inside.size(form)
    size = shapes.nearest(width / height, list(recipe.sizes))
    box = inside.within(size[1] / size[0], shape)
    reading, enlarged, outside = _readable(box, form), size[0] / box.size(form)[0], 1 - box.area / inside.area
    plans = [plan for number, shot in enumerate(shots, 1) for plan in _plans(times, number, shot, recipe)]
    pictures = enumerate(film.pictures())
    i, picture = next(pictures)
    for number, plan in enumerate(plans, 1):
        frames: list[np.ndarray] = []
        readable: list[np.ndarray] = []
        for n, wanted in enumerate(plan.wanted):
            while i < wanted:
                i, picture = next(pictures, (wanted, picture))
            if n == 0 or wanted != plan.wanted[n - 1]:
                frame = crop(picture.rgb, box, size)
            if n % max(len(plan.wanted) // _READ, 1) == 0:
                readable.append(crop(picture.rgb, box, reading))
            frames.append(frame)
        yield _keep(plan, f"{prefix}-{number:04}", np.stack(frames), readable, enlarged, outside, recipe, folder)
    for _ in pictures:  # to the end, so that all faults of the file are told
        pass


def _survey(film: Footage) -> tuple[list[float], list[tuple[int, int]], Box, tuple[int, int]]:
    """The time of every picture, the shots, what lies inside the bars, and the size."""
    shots, times, bars, form, looked = shot_detector.Shots(), [], None, (0, 0), -1.0
    for picture in film.pictures():
        times.append(picture.time)
        shots.see(picture.time, picture.rgb(shot_detector.LOOK))
        if bars is None:
            form = picture.size
            rows = min(_BAR_ROWS, form[0])
            bar_size = rows, max(round(form[1] * rows / form[0]), 1)
            bars = Bars(bar_size)
        if picture.time - looked >= _BAR_SECONDS or looked < 0:
            bars.see(picture.rgb(bar_size))
            looked = picture.time
    return times, shots.shots(), bars.inside() if bars else Box(), form


def _plans(times: Sequence[float], number: int, shot: tuple[int, int], recipe: Recipe) -> list[Plan]:
    """The clips of a shot; of one that is too short, its middle picture."""
    first, end = shot
    seconds = times[end - 1] - times[first]
    windows = shapes.windows(times[first], seconds, recipe.fps, recipe.frames, recipe.shortest)
    if not windows:
        middle = (first + end - 1) // 2
        count = int(seconds * recipe.fps + 1e-3) + 1
        needed = f"{recipe.shortest} are the fewest, {(recipe.shortest - 1) / recipe.fps:g} seconds"
        said = f"short: a shot of {count} frame{'s' * (count > 1)}, {needed}"
        return [Plan(number, Window(times[middle], 1), (middle,), said)]
    return [
        Plan(
            number,
            window,
            tuple(_nearest(times, first, end, window.start + n / recipe.fps) for n in range(window.frames)),
        )
        for window in windows
    ]


def _nearest(times: Sequence[float], first: int, end: int, time: float) -> int:
    """The picture of a shot that is nearest to a moment."""
    after = min(bisect_left(times, time - 1e-6, first, end), end - 1)
    before = max(after - 1, first)
    return after if times[after] - time <= time - times[before] else before


def _keep(
    plan: Plan,
    name: str,
    frames: np.ndarray,
    readable: list[np.ndarray],
    enlarged: float,
    outside: float,
    recipe: Recipe,
    folder: Path,
) -> Cut:
    """Writes the clip and its thumbnail."""
    path = folder / MEDIA / f"{name}{'.mp4' if len(frames) > 1 else '.png'}"
    if len(frames) > 1:
        Video(frames, recipe.fps).save(path)
    else:
        save_image(Image.fromarray(frames[0]), path)
    save_image(_thumbnail(frames), folder / THUMBNAILS / f"{name}.jpg")
    start = plan.window.start
    return Cut(
        id=name,
        file=path.name,
        shot=plan.shot,
        frames=len(frames),
        size=(frames.shape[1], frames.shape[2]),
        start=round(start, 4),
        end=round(start + len(frames) / recipe.fps if len(frames) > 1 else start, 4),
        enlarged=round(enlarged, 3),
        outside=round(outside, 3),
        short=plan.short,
        scores=scores.score(frames, readable),
        looks=hexadecimal([scores.look(frame) for frame in frames]),
        sha256=digest(path),
    )


def crop(rgb: Rgb, box: Box, size: tuple[int, int]) -> np.ndarray:
    """The part of a picture at a size, uint8 [H W 3], scaled once."""
    height, width = size
    whole = max(round(height / (box.bottom - box.top)), height), max(round(width / (box.right - box.left)), width)
    top, left = min(round(box.top * whole[0]), whole[0] - height), min(round(box.left * whole[1]), whole[1] - width)
    return np.ascontiguousarray(rgb(whole)[top : top + height, left : left + width])


def _readable(box: Box, form: tuple[int, int]) -> tuple[int, int]:
    """The size at which writing is looked for: never enlarged."""
    height, width = box.size(form)
    scale = min(scores.READING / height, 1)
    return max(round(scale * height), 16), max(round(scale * width), 16)


def _thumbnail(frames: np.ndarray) -> Image.Image:
    """Some frames side by side."""
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, 4).round().astype(int))]
    height = min(_THUMBNAIL, frames.shape[1])
    width = round(frames.shape[2] * height / frames.shape[1])
    return Image.fromarray(np.concatenate([footage.scaled(frame, (height, width)) for frame in chosen], 1))


def save_image(picture: Image.Image, path: Path) -> None:
    """A picture that is there whole or not at all. Raises PiyingError where the disk refuses."""
    try:
        with replacing(path) as partial:
            picture.save(partial, Image.registered_extensions()[path.suffix])
    except OSError as error:
        raise PiyingError(f"{path}: cannot be written ({error.strerror or error}); nothing was left there") from error
