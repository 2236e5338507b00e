"""Clips of the theatre as a dataset folder: footage to try a fine-tuning on, with a puppet that nano has never seen."""

import random
from collections.abc import Sequence
from pathlib import Path

from piying.data.dataset import MEDIA, Clip, Member, write_cast, write_clips
from piying.errors import UsageError
from piying.files import digest
from piying.theatre import casting, phrases_en, phrases_zh
from piying.theatre.ahead import Job, draw_ahead
from piying.theatre.captions import Language, caption, tell
from piying.theatre.facts import facts
from piying.theatre.scene import FPS, FRAMES, TROUPE, Scene, Style, Troupe
from piying.train.seeds import draw_at
from piying.video import writing

CLASSES: dict[Troupe, str] = {**dict.fromkeys(TROUPE, "boy"), "snake_lady": "girl"}
STYLES: tuple[Style, ...] = ("paper",)  # footage is of one style
SCENES_AN_EPISODE = 2
LANGUAGES: tuple[Language, ...] = ("en", "zh") * 3  # of a clip's captions, of which the first WHOLE tell all
WHOLE = 4


def rehearse(cast: Sequence[Troupe], count: int, folder: Path, size: tuple[int, int], seed: int = 0) -> None:
    """Writes `count` clips of each of the cast, each with three captions in English and in Chinese.

    In every second clip another of the cast is there as well. Raises UsageError where the folder exists,
    PiyingError where the disk refuses.
    """
    if folder.exists():
        raise UsageError(f"out={folder}: is there already; choose another folder")
    (folder / MEDIA).mkdir(parents=True)
    write_cast(folder, [member(who) for who in cast])
    played = [
        (who, index, _scene(cast, who, index % 2 == 1, draw_at(seed, "rehearsal", who, index)))
        for who in cast
        for index in range(count)
    ]
    drawings = draw_ahead([Job([scene], FRAMES) for *_, scene in played], size, room=0)
    clips = []
    for (who, index, scene), drawing in zip(played, drawings, strict=True):
        name = f"{who}-{index + 1:03d}"
        path = folder / MEDIA / f"{name}.mp4"
        with writing(path, FPS) as write:
            write(drawing[0].numpy())
        clips.append(
            Clip(
                id=name,
                media=f"{MEDIA}/{path.name}",
                frames=FRAMES,
                fps=FPS,
                size=size,
                captions=tuple(
                    _caption(scene, language, f"{seed} {name} {i}", i < WHOLE) for i, language in enumerate(LANGUAGES)
                ),
                episode=f"{who}-{index // SCENES_AN_EPISODE + 1}",
                sha256=digest(path),
                names=tuple(actor.subject for actor in scene.actors),
                source=f"theatre, scene {scene.seed}",
                end=FRAMES / FPS,
            )
        )
    write_clips(folder, clips)


def member(who: Troupe) -> Member:
    """One of the troupe as a cast knows them."""
    name = phrases_en.NOUNS[who][0]
    token = name.replace(" ", "-")
    aliases = (*([name] if name != token else []), *phrases_zh.NOUNS[who])
    return Member(id=who, token=token, aliases=aliases, class_word=CLASSES[who])


def _scene(cast: Sequence[Troupe], who: Troupe, shared: bool, dice: random.Random) -> Scene:
    others = [other for other in cast if other != who]
    together = [dice.choice(others)] if others and shared else []
    return casting.draw(dice, "any", cast=[who, *together], styles=STYLES, actors=2 if together else 1)


def _caption(scene: Scene, language: Language, key: str, whole: bool) -> str:
    """One that names the puppet; a `whole` one tells every fact, so that nothing but the looks is left to the name."""
    dice = draw_at("rehearsal caption", key)
    if whole:
        return tell(facts(scene), language, dice)
    subjects = {"subject", "subject2"} & facts(scene).keys()
    while not subjects <= (said := caption(scene, language, dice)).told.keys():
        pass
    return said.text
