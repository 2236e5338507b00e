"""What a judge saw in a clip, and its answers to what a caption told.

The keys of told facts are those of `piying.theatre.captions.Caption.told`: subject, colour, size, motion (a trailing 2
for the second actor), backdrop, camera, weather, light, style.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from piying.theatre.scene import (
    BACKDROPS,
    CAMERAS,
    COLOURS,
    LIGHTS,
    MOTIONS,
    SIZES,
    STYLES,
    SUBJECTS,
    TROUPE,
    UNSEEN_STYLES,
    WEATHERS,
    Style,
    Subject,
    Troupe,
    UnseenStyle,
)  # fmt: skip

CAST: tuple[Subject | Troupe, ...] = (*SUBJECTS, *TROUPE)  # nano's puppets first, and so its styles
ALL_STYLES: tuple[Style | UnseenStyle, ...] = (*STYLES, *UNSEEN_STYLES)
ACTOR: dict[str, tuple[str, ...]] = {"colour": COLOURS, "size": SIZES, "motion": MOTIONS}
SCENE: dict[str, tuple[str, ...]] = {
    "backdrop": BACKDROPS,
    "camera": CAMERAS,
    "weather": WEATHERS,
    "light": LIGHTS,
    "style": ALL_STYLES,
}
ATTRIBUTES: dict[str, tuple[str, ...]] = {"subject": SUBJECTS, **ACTOR, **SCENE, "style": STYLES}  # of nano's world
COLOURLESS: tuple[Style, ...] = ("black_and_white", "shadow")  # styles that do not show the colour


@dataclass(frozen=True)
class Sight:
    """One judge's view of one clip."""

    actors: Mapping[str, Mapping[str, str]]  # subject -> its attributes
    scene: Mapping[str, str]
    presence: Mapping[str, float] | None = None  # belief in each subject, any scale; None: was told whom to look for
    steady: bool | None = None  # subject and colour the same in every window of the clip; None: not judged

    def answers(self, told: Mapping[str, str]) -> dict[str, str]:
        """The judge's value for each told fact that it judges.

        The most believed subjects, as many as are told, are matched to the told ones by name and then by belief, so
        that a wrong subject still has its colour and motion judged.
        """
        told_cast = {key: told[key] for key in ("subject", "subject2") if key in told}
        cast = told_cast if self.presence is None else _match(told_cast, self.presence)
        answers = {} if self.presence is None else dict(cast)
        for key in told:
            attribute, name = attribute_of(key), "subject2" if key.endswith("2") else "subject"
            seen = self.scene if attribute in SCENE else self.actors.get(cast[name], {}) if name in cast else {}
            if attribute in seen:
                answers[key] = seen[attribute]
        return answers


def _match(told_cast: Mapping[str, str], presence: Mapping[str, float]) -> dict[str, str]:
    """Told keys -> seen subjects."""
    seen = sorted(presence, key=lambda subject: -presence[subject])[: len(told_cast)]
    cast = {key: subject for key, subject in told_cast.items() if subject in seen}
    strangers = [subject for subject in seen if subject not in cast.values()]
    return cast | dict(zip([key for key in told_cast if key not in cast], strangers, strict=True))


def attribute_of(key: str) -> str:
    """`motion2` is a motion."""
    return key.removesuffix("2")
