"""Ways to fit a memory, and what they are said to take."""

from itertools import pairwise

import pytest

from piying.config import COGVIDEOX_2B, COGVIDEOX_5B
from piying.train.tune.savings import GIB, Savings, choose, estimate, ways
from piying.train.tune.tuning import Tuning

LATENTS = (13, 16, 60, 90)
LORA, FULL = Tuning(), Tuning(kind="full", preserve=0.0)


def sizes(member, tuning, trained):
    return [
        estimate(member.transformer, tuning, LATENTS, 2, trained, way, 1) for way in ways(tuning, card=True, ranks=1)
    ]


@pytest.mark.parametrize(
    ("member", "tuning", "trained", "most"),
    [
        (COGVIDEOX_2B, LORA, 59_000_000, 5),
        (COGVIDEOX_5B, LORA, 132_120_576, 8),
        (COGVIDEOX_2B, FULL, 1_694_000_000, 12),
        (COGVIDEOX_5B, FULL, 5_570_000_000, 24),
    ],
    ids=["2b lora", "5b lora", "2b full", "5b full"],
)
def test_each_way_takes_less_than_the_one_before_and_the_last_is_within_reach(member, tuning, trained, most):
    found = sizes(member, tuning, trained)
    assert all(later < earlier for earlier, later in pairwise(found))
    assert found[-1] < most * GIB


def test_the_first_that_fits_is_chosen_and_else_the_last():
    assert choose([50, 30, 10], None) == 0
    assert choose([50, 30, 10], 30) == 1
    assert choose([50, 30, 10], 5) == 2


def test_a_whole_training_on_several_ranks_is_split_and_a_cpu_has_no_other_memory():
    assert all(way.split for way in ways(FULL, card=True, ranks=2))
    assert any(way.split for way in ways(LORA, card=True, ranks=2)) and not ways(LORA, card=True, ranks=2)[0].split
    cpu = ways(LORA, card=False, ranks=1)
    assert not any(way.stream or way.inputs_on_host for way in cpu)
    assert str(Savings(recompute=True, stream=True)) == "recompute, stream" and str(Savings()) == "nothing saved"
