import torch
from torch import nn

from piying.train.loop import State, train
from piying.train.recipe import OptimizerRecipe


def regression(steps, ema=0.9):
    torch.manual_seed(0)
    model = nn.Linear(6, 1)
    batch = (torch.randn(32, 6), torch.randn(32, 1))
    return State(model, OptimizerRecipe(rate=0.02, warmup=1, ema=ema, weight_decay=0.0), steps), lambda step: batch


def squared(model, batch):
    inputs, wanted = batch
    return (model(inputs) - wanted).square().mean(), {}


def test_the_loss_falls_on_one_fixed_batch():
    state, batches = regression(60)
    losses = []
    assert train(state, batches, squared, [lambda state, facts: losses.append(facts["loss"].item())])
    assert len(losses) == 60
    assert losses[-1] < 0.9 * losses[0]
    assert losses[-1] < losses[20] < losses[0]


def test_a_model_in_float32_computes_in_half_precision_where_that_is_asked_for():
    kinds = []

    def noted(model, batch):
        kinds.append(model(batch[0]).dtype)
        return squared(model, batch)

    for mixed in ((), ("cuda",), ("cuda", "cpu")):
        state, batches = regression(1)
        train(state, batches, noted, [], mixed=mixed)
        assert state.model.weight.dtype == torch.float32
    assert kinds == [torch.float32, torch.float32, torch.bfloat16]


def test_a_hook_that_answers_true_ends_the_run_after_all_hooks_saw_the_step():
    state, batches = regression(10)
    seen = []
    hooks = [lambda state, facts: state.step == 4, lambda state, facts: seen.append(state.step)]
    assert not train(state, batches, squared, hooks)
    assert state.step == 4
    assert seen == [1, 2, 3, 4]


def test_batches_are_asked_for_by_step_and_a_run_goes_on_where_its_state_stands():
    state, batches = regression(8)
    asked = []
    train(state, lambda step: asked.append(step) or batches(step), squared, [lambda state, facts: state.step == 3])
    assert train(state, lambda step: asked.append(step) or batches(step), squared, [])
    assert asked == [0, 1, 2, 3, *range(3, 8)]  # the next batch is made while a device works on the last


def test_the_average_follows_the_weights_and_ends_near_them():
    state, batches = regression(50)
    start = state.average.weight.clone()
    path = []
    train(state, batches, squared, [lambda state, facts: path.append(state.model.weight.detach().clone())])
    assert not torch.equal(state.average.weight, start)
    assert (state.average.weight - path[-1]).norm() < 0.2 * (path[-1] - start).norm()
    low, high = torch.stack(path).amin(0), torch.stack(path).amax(0)
    assert ((state.average.weight >= low - 1e-6) & (state.average.weight <= high + 1e-6)).all()


def test_state_travels_through_tensors():
    state, batches = regression(6)
    train(state, batches, squared, [lambda state, facts: state.step == 3])
    other, _ = regression(6)
    other.restore(3, {name: tensor.detach().clone() for name, tensor in state.tensors().items()})
    train(state, batches, squared, [])
    train(other, batches, squared, [])
    assert other.step == state.step == 6
    for name, tensor in state.tensors().items():
        assert torch.equal(tensor, other.tensors()[name]), name
