"""The facts of a scene that a caption can tell, and which of them one caption tells.

Keys are subject, colour, size and motion of the first actor, subject2 ... of the second, and backdrop, camera, weather,
light and style. Values are those of scene.py.
"""

import random
from collections.abc import Mapping

from piying.theatre.scene import TROUPE, Scene

COLOURLESS = ("black_and_white", "shadow")  # styles that show no colour, so that no caption tells it
ACTOR = ("subject", "colour", "size", "motion")
SCENE = ("backdrop", "camera", "weather", "light", "style")


def facts(scene: Scene) -> dict[str, str]:
    """All that can be told of a scene."""
    told: dict[str, str] = {}
    for n, actor in zip(("", "2"), scene.actors, strict=False):
        told |= {key + n: getattr(actor, key) for key in ACTOR}
        if scene.style in COLOURLESS or actor.subject in TROUPE:
            del told["colour" + n]
    return told | {key: getattr(scene, key) for key in SCENE}


def choose(scene: Scene, rng: random.Random, share: float | None = None) -> dict[str, str]:
    """About this share of the facts, at least one; None: any share. Two actors are both named or neither is, and so it
    is with their motions, as `tell` expects."""
    known = facts(scene)
    share = rng.choice((0.1, 0.4, 0.7, 1.0, 1.0)) if share is None else share
    kept = {key for key in known if rng.random() < share}
    if rng.random() < 0.96:
        kept |= known.keys() & {"subject", "subject2"}
    elif len(scene.actors) == 2:
        kept &= set(SCENE)
    else:
        kept -= {"subject"}
    if kept & {"motion", "motion2"}:
        kept |= known.keys() & {"motion", "motion2"}
    kept = kept or {rng.choice(SCENE)}
    return {key: value for key, value in known.items() if key in kept}


def cast(told: Mapping[str, str]) -> list[str]:
    """The key endings of the actors that are told of: "" and "2"."""
    return [n for n in ("", "2") if any(key + n in told for key in ACTOR)]
