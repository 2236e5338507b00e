"""What looks on while a training runs."""

import torch
from torch import nn

from piying.train import checkpoint, hooks
from piying.train.loop import State, train
from piying.train.optimizer import Optimizer
from piying.train.recipe import OptimizerRecipe


def test_weights_that_are_lost_take_the_place_of_no_good_ones(tmp_path):
    recipe = OptimizerRecipe(rate=0.1, warmup=1, ema=0.0, decay=0.0)
    model = nn.Linear(2, 2)
    start, told = model.weight.detach().clone(), []
    state = State(model, recipe, 20, Optimizer(model, recipe, 20, forgiving=True))

    def loss(model, step):
        """One bad step, after which no loss is finite, on whatever sample."""
        moved = (model.weight - start).abs().max() > 0.05
        return model.weight.sum() * (1.0 if step == 6 else torch.nan if moved else 0.0), {}

    looking_on = [hooks.rescue("t", tmp_path, told.append), hooks.save(tmp_path, 2, lambda: False)]
    assert train(state, lambda step: step, loss, looking_on)
    assert [event.numbers["weights of step"] for event in told if "weights of step" in event.numbers] == [6.0]
    assert checkpoint.steps(tmp_path) == [18, 20] and (model.weight - start).abs().max() < 0.05


def test_the_clock_waits_until_weights_may_be_saved(tmp_path):
    recipe = OptimizerRecipe(ema=0.0)
    model = nn.Linear(2, 2)
    state = State(model, recipe, 20, Optimizer(model, recipe, 20, forgiving=True))
    looking_on = [hooks.rescue("t", tmp_path, lambda event: None), hooks.save(tmp_path, 100, lambda: state.step >= 3)]

    def loss(model, step):
        return model.weight.sum() * (torch.nan if step in (2, 3) else 1.0), {}

    assert not train(state, lambda step: step, loss, looking_on)
    assert checkpoint.steps(tmp_path) == [5]


def test_only_pictures_that_there_are_are_told_of(tmp_path):
    recipe, told = OptimizerRecipe(ema=0.0), []
    state = State(nn.Linear(2, 2), recipe, 4)
    drawn = hooks.draw("t", tmp_path, 1, lambda model, path: path.touch() if state.step == 2 else None, told.append)
    train(state, lambda step: step, lambda model, step: (model.weight.sum(), {}), [drawn])
    assert [event.path.name for event in told] == ["t-00000002.png"]
