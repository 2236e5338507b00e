"""Episodes: scenes cut hard one after another behind one opening, as footage of which everything is known."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from piying.theatre.captions import Caption, Language, caption
from piying.theatre.casting import draw
from piying.theatre.scene import FPS, FRAMES, STYLES, TROUPE, Scene, Style, Subject, Troupe, UnseenStyle
from piying.theatre.stage import render
from piying.video import writing

LANGUAGES: tuple[Language, ...] = ("en", "zh")
OPENING = 3  # seconds
RATE = 2 * FPS  # frames a second; every other one is a frame of the clip that nano would be shown


@dataclass(frozen=True)
class Shot:
    """A scene without a cut, and what a person wrote about it in each language."""

    scene: Scene
    seconds: float  # from its beginning
    captions: dict[Language, Caption]


@dataclass(frozen=True)
class Episode:
    name: str
    shots: tuple[Shot, ...]  # the opening first

    def cuts(self) -> list[float]:
        """When each shot begins, and at last when the episode ends, in seconds."""
        times = [0.0]
        for shot in self.shots:
            times.append(times[-1] + _frames(shot) / RATE)
        return times


def plan(
    count: int,
    held_out: int,
    scenes: int,
    *,
    seed: int = 0,
    cast: Sequence[Subject | Troupe] = TROUPE,
    styles: Sequence[Style | UnseenStyle] = STYLES,
) -> list[Episode]:
    """Episodes of so many scenes each, and then some that a training is to hold out; all share their opening."""
    rng = random.Random(f"{seed} episodes")
    opening = Shot(draw(rng, styles=styles, actors=1), OPENING, {})
    whole = (FRAMES - 1) / FPS
    names = [f"episode-{n:02}" for n in range(1, count + 1)] + [f"held-out-{n:02}" for n in range(1, held_out + 1)]
    return [
        Episode(
            name, (opening, *(_shot(draw(rng, "any", cast=cast, styles=styles), whole, rng) for _ in range(scenes)))
        )
        for name in names
    ]


def film(episode: Episode, folder: Path, size: tuple[int, int]) -> Path:
    """An MP4 between black bars, each an eighth of the picture, and beside it what is told of each shot, by its times:
    a text in each language, and every fact in JSON. `size` is of the picture without the bars."""
    path = folder / f"{episode.name}.mp4"
    bar = size[0] // 16 * 2
    with writing(path, RATE) as write:
        for shot in episode.shots:
            frames = render([shot.scene], frames=RATE // FPS * (FRAMES - 1) + 1, size=size).frames[0].numpy()
            write(np.pad(frames[: _frames(shot)], ((0, 0), (bar, bar), (0, 0), (0, 0))))
    cuts = episode.cuts()
    times = list(zip(episode.shots, cuts, cuts[1:], strict=False))
    for language in LANGUAGES:
        lines = [
            f"{begin:.3f} - {end:.3f} {shot.captions[language].text}\n"
            for shot, begin, end in times
            if language in shot.captions
        ]
        path.with_suffix(f".{language}.txt").write_text("".join(lines), "utf-8")
    facts = [{"start": begin, "end": end, "scene": asdict(shot.scene)} for shot, begin, end in times]
    path.with_suffix(".json").write_text(json.dumps(facts, indent=2), "utf-8")
    return path


def _shot(scene: Scene, seconds: float, rng: random.Random) -> Shot:
    return Shot(scene, seconds, {language: _naming(scene, language, rng) for language in LANGUAGES})


def _naming(scene: Scene, language: Language, rng: random.Random) -> Caption:
    """A caption that says who is there."""
    while "subject" not in (said := caption(scene, language, rng)).told:
        pass
    return said


def _frames(shot: Shot) -> int:
    """With the frame at its last moment."""
    return round(shot.seconds * RATE) + 1
