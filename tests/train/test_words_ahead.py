"""Steps that other processes work out ahead."""

import numpy as np

from piying.models.text import Tokenizer
from piying.train.ahead import Ahead
from piying.train.batch import Words
from piying.train.recipe import read
from piying.train.seeds import training_scene
from piying.weights.store import find


def test_other_processes_say_of_each_step_what_this_one_would():
    recipe, tokenizer = read(), Tokenizer.read(find("nano") / "tokenizer")
    scenes = [training_scene(0, i) for i in range(64)]
    words = Words(recipe, tokenizer.files["tokenizer.json"].decode(), 64, scenes, (1,), 400)
    ahead = Ahead(words, 20)
    for step in (3, 4, 19):
        for here, there in zip(words(step), ahead(step), strict=True):
            np.testing.assert_array_equal(here, there)
    assert len(ahead(5)[0]) == 768 // 400
