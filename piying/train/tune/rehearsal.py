"""Clips of the theatre as a dataset folder: footage to try a fine-tuning on, with a puppet that nano has never seen."""

from collections.abc import Sequence
from pathlib import Path

from piying.data.dataset import MEDIA, Clip, Member, write_cast, write_clips
from piying.errors import UsageError
from piying.files import digest
from piying.theatre import casting, phrases_en, phrases_zh
from piying.theatre.captions import Language, caption, tell
from piying.theatre.facts import facts
from piying.theatre.scene import FPS, FRAMES, TROUPE, Scene, Style, Troupe
from piying.theatre.stage import render
from piying.train.seeds import draw_at
from piying.video import writing

CLASSES: dict[Troupe, str] = {**dict.fromkeys(TROUPE, "boy"), "snake_lady": "girl"}
STYLES: tuple[Style, ...] = ("paper",)  # footage is of one style
SCENES_AN_EPISODE = 2
LANGUAGES: tuple[Language, ...] = ("en", "zh") * 3  # of a clip's captions, of which the first WHOLE tell all
WHOLE = 4


def rehearse(cast: Sequence[Troupe], count: int, folder: Path, size: tuple[int, int], seed: int = 0) -> None:
    """Writes `count` clips of each of the cast, alone on the stage, each with three captions in English and in Chinese.

    Raises UsageError where the folder exists, PiyingError where the disk refuses.
    """
    if folder.exists():
        raise UsageError(f"out={folder}: is there already; choose another folder")
    (folder / MEDIA).mkdir(parents=True)
    write_cast(folder, [member(who) for who in cast])
    clips = []
    for who in cast:
        for index in range(count):
            dice = draw_at(seed, "rehearsal", who, index)
            scene = casting.draw(dice, "any", cast=[who], styles=STYLES, actors=1)
            name = f"{who}-{index + 1:03d}"
            path = folder / MEDIA / f"{name}.mp4"
            with writing(path, FPS) as write:
                write(render([scene], frames=FRAMES, size=size).frames[0].numpy())
            clips.append(
                Clip(
                    id=name,
                    media=f"{MEDIA}/{path.name}",
                    frames=FRAMES,
                    fps=FPS,
                    size=size,
                    captions=tuple(
                        _caption(scene, language, f"{seed} {name} {i}", i < WHOLE)
                        for i, language in enumerate(LANGUAGES)
                    ),
                    episode=f"{who}-{index // SCENES_AN_EPISODE + 1}",
                    sha256=digest(path),
                    names=(who,),
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


def _caption(scene: Scene, language: Language, key: str, whole: bool) -> str:
    """One that names the puppet; a `whole` one tells every fact, so that nothing but the looks is left to the name."""
    dice = draw_at("rehearsal caption", key)
    if whole:
        return tell(facts(scene), language, dice)
    while "subject" not in (said := caption(scene, language, dice)).told:
        pass
    return said.text
