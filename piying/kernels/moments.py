"""What Adam's kernel and its plain math agree on: moments as codes of 8 bits, and the numbers of a step.

Codes (arXiv:2110.02861) stand for magnitudes against the largest of their block, which is kept in float32. Code 0 is 0,
the others lie at even distances of their logarithm, and the last is the largest itself. A sign takes a bit.
"""

import math
from typing import NamedTuple

BLOCK = 256  # values that share a largest one
BETAS, EPS = (0.9, 0.98), 1e-8


class Codes(NamedTuple):
    """The last code, and the share of the largest that code 1 stands for."""

    last: int
    low: float

    @property
    def spacing(self) -> float:
        """The distance of neighbours, as a logarithm."""
        return -math.log(self.low) / (self.last - 1)

    @property
    def signed(self) -> bool:
        return self.last < 128


FIRST, SECOND = Codes(127, 1e-5), Codes(255, 1e-8)


class Pace(NamedTuple):
    """What a step takes of the recipe, and of how many there were."""

    rate: float
    keep: float  # what decay leaves of a weight
    first: float  # the share that a moment of step 0 has of its final size (arXiv:1412.6980, section 3)
    second: float


class Key(NamedTuple):
    """What sets the random numbers of one step of one parameter apart from all others."""

    seed: int
    step: int
    parameter: int
    shard: int  # shards of one parameter draw apart; copies of it draw the same
