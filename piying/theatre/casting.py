"""Who plays where: scenes drawn evenly over all facts, and the pairs of facts that no training scene shows."""

import random
from collections.abc import Sequence
from typing import Literal

from piying.errors import UsageError
from piying.theatre.scene import (
    BACKDROPS,
    CAMERAS,
    COLOURS,
    LIGHTS,
    MOTIONS,
    SIZES,
    STYLES,
    SUBJECTS,
    WEATHERS,
    Actor,
    Backdrop,
    Colour,
    Motion,
    Scene,
    Style,
    Subject,
    Troupe,
    UnseenStyle,
)

Split = Literal["train", "held_out", "any"]

# The colour, the backdrop and the motion that each subject never has in training: a ninth of all pairs of each kind.
HELD_OUT: dict[Subject | Troupe, tuple[Colour, Backdrop, Motion]] = {
    "boat": ("purple", "desert", "jump"),
    "car": ("pink", "meadow", "circle"),
    "train": ("white", "sea", "rise"),
    "balloon": ("black", "forest", "left"),
    "kite": ("green", "night_city", "sink"),
    "fish": ("yellow", "mountains", "sway"),
    "bird": ("pink", "room", "still"),
    "butterfly": ("orange", "snowfield", "right"),
    "cat": ("blue", "stage", "spin"),
    "dog": ("red", "desert", "sink"),
    "horse": ("green", "room", "circle"),
    "dragon": ("white", "meadow", "jump"),
    "girl": ("orange", "mountains", "rise"),
    "boy": ("purple", "night_city", "spin"),
}

ROBES: dict[Subject | Troupe, Colour] = {
    "dawa": "red",
    "erwa": "orange",
    "sanwa": "yellow",
    "siwa": "green",
    "wuwa": "blue",
    "liuwa": "purple",
    "qiwa": "pink",
    "grandpa": "white",
    "snake_lady": "black",
}

PAIR_SHARE = 0.3  # of the scenes have two actors
LEARNED_PAIRS = 0.7  # of those that a model learns from: who of two does what is the hard part
LEARNED_MOTIONS: Sequence[Motion] = (*MOTIONS, "spin", "spin", "circle")  # what is hard is learned from more often
SEED_BITS = 30  # of a drawn scene's seed; seeds above are evaluation's, so that the two never meet


def held_out_pairs(scene: Scene) -> list[tuple[str, str]]:
    """The held-out pairs (subject, value) that a scene shows, whichever of its actors does."""
    return [
        (actor.subject, value)
        for actor in scene.actors
        for value in (actor.colour, scene.backdrop, actor.motion)
        if value in HELD_OUT.get(actor.subject, ())
    ]


def draw(
    rng: random.Random,
    split: Split = "train",
    *,
    cast: Sequence[Subject | Troupe] = SUBJECTS,
    styles: Sequence[Style | UnseenStyle] = STYLES,
    actors: Literal[1, 2] | None = None,
    pairs: float = PAIR_SHARE,
    motions: Sequence[Motion] = MOTIONS,
) -> Scene:
    """A scene with one or two actors of the cast; None: two in a share `pairs` of the scenes.

    A motion that stands among the `motions` more than once is drawn so much more often.

    "train" scenes show no held-out pair, "held_out" scenes exactly one, "any" scenes whatever comes. Raises UsageError
    where the cast has too few for the split or for two.
    """
    if split == "held_out" and not set(cast) & set(SUBJECTS):
        raise UsageError(f"cast={', '.join(cast)}: the troupe has no held-out pairs, use split='any'")
    if actors == 2 and len(cast) < 2:
        raise UsageError(f"actors=2: a cast of {len(cast)} plays alone, use actors=1")
    count = actors or (2 if len(cast) > 1 and rng.random() < pairs else 1)
    while True:
        scene = Scene(
            actors=tuple(_actor(rng, subject, motions) for subject in rng.sample(cast, count)),
            backdrop=rng.choice(BACKDROPS),
            camera=rng.choice(CAMERAS),
            weather=rng.choice(WEATHERS),
            light=rng.choice(LIGHTS),
            style=rng.choice(styles),
            seed=rng.getrandbits(SEED_BITS),
        )
        if split == "any" or len(held_out_pairs(scene)) == (1 if split == "held_out" else 0):
            return scene


def _actor(rng: random.Random, subject: Subject | Troupe, motions: Sequence[Motion]) -> Actor:
    colour = ROBES[subject] if subject in ROBES else rng.choice(COLOURS)
    return Actor(subject=subject, colour=colour, size=rng.choice(SIZES), motion=rng.choice(motions))
