"""Training as a loop: batches, a loss, an optimizer, and hooks that look on. It knows nothing of what it trains."""

import copy
from collections.abc import Callable, Collection, Sequence
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from piying.parallel import ranks
from piying.train.optimizer import Optimizer
from piying.train.recipe import OptimizerRecipe
from piying.train.shards import fill, local

Facts = dict[str, Tensor]
M = TypeVar("M", bound=nn.Module)
MIXED = ("cuda",)


class Descent(Protocol):
    """An optimizer as the loop knows it. `forgiving`: gradients that are not finite do not get into the weights."""

    forgiving: bool

    def descend(self, value: Tensor, step: int) -> Tensor: ...

    def tensors(self) -> dict[str, Tensor]: ...

    def restore(self, tensors: dict[str, Tensor]) -> None: ...


class State(Generic[M]):
    """All that a training carries from one step to the next: weights, their moving average, optimizer, step.

    Of weights that are split over ranks, `tensors` and `restore` know this rank's part.
    An `ema` of 0 keeps no average: the weights stand for it.
    """

    def __init__(self, model: M, recipe: OptimizerRecipe, steps: int, optimizer: Descent | None = None) -> None:
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False) if recipe.ema else model
        self.optimizer: Descent = optimizer or Optimizer(model, recipe, steps)
        self.recipe, self.steps, self.step = recipe, steps, 0
        self.lost = torch.zeros(3, dtype=torch.long)  # steps without finite gradients: in a row, in all; rescues

    def tensors(self) -> dict[str, Tensor]:
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.tensors(), "state": {"lost": self.lost}}
        if self.average is not self.model:
            parts["average"] = self.average.state_dict()
        return {f"{part}/{name}": local(tensor) for part, tensors in parts.items() for name, tensor in tensors.items()}

    def restore(self, step: int, tensors: dict[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}, "state": {}}
        for key, tensor in tensors.items():
            part, name = key.split("/")
            parts[part][name] = tensor
        fill(self.model, parts["model"])
        if self.average is not self.model:
            fill(self.average, parts["average"])
        self.optimizer.restore(parts["optimizer"])
        self.lost = parts["state"].get("lost", self.lost)
        self.step = step


Hook = Callable[[State[Any], Facts], bool | None]


def train(
    state: State[M],
    batches: Callable[[int], Any],
    loss: Callable[[M, Any], tuple[Tensor, Facts]],
    hooks: Sequence[Hook],
    *,
    mixed: Collection[str] = MIXED,
) -> bool:
    """Steps until the last one (True) or until a hook answers True, which stops the run after that step (False).

    batches: step -> batch, a function of the step alone, so that a resumed run sees what an unbroken one saw.
    loss: (model, batch) -> value, facts for the hooks. `mixed`: the types of device on which a model in
    float32 computes in bfloat16.
    Ranks that train together see batches of their own and stop where the first one does.
    Nothing here waits for a GPU; the hooks see to it that lost weights are not saved.
    """
    parameters = list(state.model.parameters())
    device = parameters[0].device.type
    state.model.train()
    batch = batches(state.step) if state.step < state.steps else None
    while state.step < state.steps:
        with torch.autocast(device, torch.bfloat16, enabled=device in mixed):
            value, facts = loss(state.model, batch)
        norm = state.optimizer.descend(value, state.step)
        batch = batches(state.step + 1) if state.step + 1 < state.steps else None  # while a GPU still works
        state.step += 1
        _follow(state, parameters)
        facts = {"loss": value.detach(), "gradient": norm, **{name: fact.detach() for name, fact in facts.items()}}
        if ranks.lead(any([hook(state, facts) for hook in hooks])):  # a list: every hook sees every step
            return state.step == state.steps
    return True


@torch.no_grad()
def _follow(state: State[Any], parameters: Sequence[Tensor]) -> None:
    """The average takes a step towards the weights, a longer one in the beginning."""
    if state.average is state.model:
        return
    stay = min(state.recipe.ema, state.step / (state.step + 10))
    torch._foreach_lerp_(list(state.average.parameters()), list(parameters), 1 - stay)
