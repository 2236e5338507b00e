"""Steps that other processes work out ahead."""

import numpy as np
import pytest

from piying.models.text import Tokenizer
from piying.train.nano.ahead import Ahead
from piying.train.nano.batch import Words
from piying.train.nano.recipe import read
from piying.train.nano.text import Telling
from piying.train.seeds import training_scene
from piying.weights.store import find

VOCABULARY = Tokenizer.read(find("nano") / "tokenizer").files["tokenizer.json"].decode()


@pytest.mark.parametrize(
    ("function", "rows"),
    [
        (Words(read(), VOCABULARY, 64, [training_scene(0, i) for i in range(64)], (1,), 400), 768 // 400),
        (Telling(read(), VOCABULARY, 1, 2), 128 // 2),
    ],
    ids=["transformer", "text"],
)
def test_other_processes_say_of_each_step_what_this_one_would(function, rows):
    ahead = Ahead(function, 20)
    for step in (3, 4, 19):
        for here, there in zip(function(step), ahead(step), strict=True):
            np.testing.assert_array_equal(here, there)
    assert len(ahead(5)[0]) == rows


def test_ranks_tell_of_different_scenes():
    one, other = (Telling(read(), VOCABULARY, rank, 2)(7)[0] for rank in (0, 1))
    assert len(one) == len(other) == 64
    assert (one != other).any(1).mean() > 0.9
