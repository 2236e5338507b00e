"""Where every random number of a training comes from: a key of words and numbers, never a running state.

What step 700 draws depends on the recipe's seed and on 700 alone, so a resumed training draws what an unbroken one
would. Scenes of training have seeds below 2**30 (piying.theatre.casting), evaluation's lie from there, validation's
from 2**40.
"""

import random
from dataclasses import replace

import torch

from piying.parallel import ranks
from piying.theatre import casting
from piying.theatre.scene import Scene

VALIDATION = 1 << 40


def draw_at(*key: str | int) -> random.Random:
    """A Python generator of its own for a key such as (seed, "vae", step)."""
    return random.Random(" ".join(map(str, key)))


def rank_key(rank: int | None = None) -> tuple[int, ...]:
    """What sets the draws of a rank, this one or another, apart from those of rank 0, which draws as a process alone
    does."""
    rank = ranks.rank() if rank is None else rank
    return (rank,) if rank else ()


def noise_at(*key: str | int, device: torch.device) -> torch.Generator:
    """The same for tensors on a device."""
    return torch.Generator(device).manual_seed(draw_at(*key).getrandbits(63))


def training_scene(seed: int, index: int) -> Scene:
    """What training clip `index` shows."""
    dice, pairs, motions = draw_at(seed, "training scene", index), casting.LEARNED_PAIRS, casting.LEARNED_MOTIONS
    return casting.draw(dice, "train", pairs=pairs, motions=motions)


def validation_scene(index: int) -> Scene:
    """What validation clip `index` shows, the same for every recipe: composed as in training, but every motion alike,
    and drawn as never there."""
    scene = casting.draw(draw_at("validation scene", index), "train", pairs=casting.LEARNED_PAIRS)
    return replace(scene, seed=VALIDATION + index)
