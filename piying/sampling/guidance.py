"""Classifier-free guidance (arXiv:2207.12598), and how its strength runs over the steps."""

import math
from collections.abc import Callable

from torch import Tensor

Curve = Callable[[float, int, int], float]


def guide(unguided: Tensor, guided: Tensor, strength: float) -> Tensor:
    """Past the prediction with the prompt, away from the one without (arXiv:2207.12598, equation 6)."""
    return unguided + strength * (guided - unguided)


def constant(guidance: float, timestep: int, steps: int) -> float:
    """The same at every step."""
    return guidance


def smooth(guidance: float, timestep: int, steps: int) -> float:
    """From 1 up to 1 + guidance, slowly at first: what the published curve was meant to be."""
    done = 1 - (timestep + 1) / 1000
    return 1 + guidance * (1 - math.cos(math.pi * done**5)) / 2


def published(guidance: float, timestep: int, steps: int) -> float:
    """A wave between 1 and 1 + guidance: the published 5B models read a timestep where a count of steps was meant.

    Their authors kept it, and what people know of those models was made with it.
    """
    return 1 + guidance * (1 - math.cos(math.pi * ((steps - timestep) / steps) ** 5)) / 2


CURVES: dict[str, Curve] = {"constant": constant, "published": published, "smooth": smooth}
