"""Training as a loop: batches, a loss, an optimizer, and hooks that look on. It knows nothing of what it trains."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from piying.errors import PiyingError
from piying.train.optimizer import Optimizer
from piying.train.recipe import OptimizerRecipe

Facts = dict[str, Tensor]
Loss = Callable[[Callable[..., Any], Any], tuple[Tensor, Facts]]


class State:
    """All that a training carries from one step to the next: weights, their moving average, optimizer, step."""

    def __init__(self, model: nn.Module, recipe: OptimizerRecipe, steps: int) -> None:
        self.model = model
        self.average = copy.deepcopy(model).requires_grad_(False)
        self.optimizer = Optimizer(model, recipe, steps)
        self.recipe, self.steps, self.step = recipe, steps, 0

    def tensors(self) -> dict[str, Tensor]:
        parts = {"model": self.model.state_dict(), "average": self.average.state_dict()}
        parts["optimizer"] = self.optimizer.tensors()
        return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}

    def restore(self, step: int, tensors: dict[str, Tensor]) -> None:
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
        for key, tensor in tensors.items():
            part, name = key.split("/")
            parts[part][name] = tensor
        self.model.load_state_dict(parts["model"])
        self.average.load_state_dict(parts["average"])
        self.optimizer.restore(parts["optimizer"])
        self.step = step


Hook = Callable[[State, Facts], bool | None]


def train(state: State, batches: Callable[[int], Any], loss: Loss, hooks: Sequence[Hook]) -> bool:
    """Steps until the last one (True) or until a hook answers True, which stops the run after that step (False).

    batches: step -> batch, a function of the step alone, so that a resumed run sees what an unbroken one saw.
    loss: (model, batch) -> value, facts for the hooks. Weights stay in float32; on CUDA the model computes in bfloat16.
    Raises PiyingError where the gradient is not finite, before it reaches the weights.
    """
    parameters = list(state.model.parameters())
    device = parameters[0].device.type
    state.model.train()
    batch = batches(state.step) if state.step < state.steps else None
    while state.step < state.steps:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            value, facts = loss(state.model, batch)
        value.backward()
        norm = nn.utils.clip_grad_norm_(parameters, state.recipe.clip)
        batch = batches(state.step + 1) if state.step + 1 < state.steps else None  # while a GPU still works
        if not norm.isfinite():
            raise PiyingError(f"step {state.step}: the gradient is not finite; lower the rates in the recipe")
        state.optimizer.step(state.step)
        state.step += 1
        _follow(state, parameters)
        facts = {"loss": value.detach(), "gradient": norm, **{name: fact.detach() for name, fact in facts.items()}}
        if any([hook(state, facts) for hook in hooks]):  # a list: every hook sees every step
            return state.step == state.steps
    return True


@torch.no_grad()
def _follow(state: State, parameters: list[Tensor]) -> None:
    """The average takes a step towards the weights, a longer one in the beginning."""
    stay = min(state.recipe.ema, state.step / (state.step + 10))
    torch._foreach_lerp_(list(state.average.parameters()), parameters, 1 - stay)
