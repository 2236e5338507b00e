"""The fixed prompts that nano is judged on: scenes that no training ever drew, told in both languages."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from piying.theatre.captions import Language, tell
from piying.theatre.casting import SEED_BITS, draw, held_out_pairs
from piying.theatre.facts import choose
from piying.theatre.scene import Scene

Group = Literal["seen", "held_out", "two"]

SHORT = 0.25  # of the scenes have a short prompt, with about this share of the facts


@dataclass(frozen=True)
class Case:
    """A prompt and what it promises. Cases 2i and 2i + 1 tell the same facts of one scene in English and in Chinese."""

    scene: Scene
    caption: str
    told: dict[str, str]
    language: Language
    group: Group  # one subject composed as in training, one with a held-out pair that the prompt names, two subjects


def prompts(n: int, seed: int = 0) -> list[Case]:
    """The first n cases of a set. More of the same set begin with the same."""
    return [case for i in range((n + 1) // 2) for case in _pair(i, seed)][:n]


def _pair(i: int, seed: int) -> Iterator[Case]:
    """Groups take turns; in each, every fourth scene is told shortly."""
    groups: tuple[Group, ...] = ("seen", "held_out", "two")
    group = groups[i % 3]
    rng = random.Random(f"evaluation {seed} {i}")
    share = SHORT if i // 3 % 4 == 3 else 1.0
    while True:
        scene = draw(rng, "held_out" if group == "held_out" else "train", actors=2 if group == "two" else 1)
        told = choose(scene, rng, share)
        if "subject" in told and all(value in told.values() for _, value in held_out_pairs(scene)):
            break
    scene = replace(scene, seed=scene.seed + 2**SEED_BITS)
    for language in ("en", "zh"):
        yield Case(scene, tell(told, language, rng), told, language, group)
