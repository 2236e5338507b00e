"""What the three stages share: where they are, and one way to run, resume and finish."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import torch
from torch import Tensor, nn

from piying.parallel import ranks
from piying.train import checkpoint, hooks
from piying.train.hooks import Clock, Listener
from piying.train.loop import Facts, Hook, M, State, train
from piying.train.recipe import OptimizerRecipe, Phase, Recipe


@dataclass(frozen=True)
class Run:
    """One call of a training: what, where, on what, how long, and who listens."""

    recipe: Recipe
    out: Path
    device: torch.device
    clock: Clock
    listen: Listener


@dataclass(frozen=True)
class Stage(Generic[M]):
    """One training inside a run. Functions of a step depend on it alone."""

    name: str
    model: M
    optimizer: OptimizerRecipe
    steps: int
    batches: Callable[[int], Any]
    samples: Callable[[int], int]  # in the batch of a step
    loss: Callable[[M, Any], tuple[Tensor, Facts]]
    measure: Callable[[M], dict[str, float]]  # of the average weights, as the picture
    picture: Callable[[M, Path], None] | None = None
    compiled: Callable[[], Iterable[nn.Module]] = tuple  # parts that are worth compiling, each for all steps


def perform(stage: Stage[M], run: Run) -> M | None:
    """Runs a stage from its last checkpoint to its end: the average weights; None where the clock ended it before."""
    recipe, folder = run.recipe, run.out / stage.name
    state = State(stage.model.to(run.device), stage.optimizer, stage.steps)
    if saved := checkpoint.read(folder):
        state.restore(*saved)
    looking_on: list[Hook] = [] if ranks.rank() else _hooks(stage, run, folder, state.step)
    if recipe.compile and run.device.type == "cuda":
        for part in stage.compiled():
            part.compile(dynamic=False)
    return state.average.eval() if train(state, stage.batches, stage.loss, looking_on) else None


def _hooks(stage: Stage[M], run: Run, folder: Path, step: int) -> list[Hook]:
    """All that looks on; the log forgets what a killed run did after `step`."""
    recipe, log = run.recipe, run.out / f"{stage.name}.jsonl"
    hooks.forget(log, step)
    looking_on: list[Hook] = [
        hooks.log(stage.name, log, recipe.log_every, stage.samples, run.listen),
        hooks.validate(stage.name, log, recipe.validate_every, stage.measure, run.listen),
        hooks.save(folder, recipe.save_every, run.clock),
        run.clock,
    ]
    if stage.picture:
        looking_on.insert(2, hooks.draw(stage.name, run.out / "sheets", recipe.sheet_every, stage.picture, run.listen))
    return looking_on


def finished(name: str, model: M, steps: int, run: Run) -> M | None:
    """The average weights of a stage that ended in an earlier run, in `model`; None where it has not ended."""
    saved = checkpoint.read(run.out / name)
    if saved is None or saved[0] < steps:
        return None
    weights = {key.removeprefix("average/"): value for key, value in saved[1].items() if key.startswith("average/")}
    model.load_state_dict(weights)
    return model.to(run.device).requires_grad_(False).eval()


def locate(phases: tuple[Phase, ...], step: int) -> tuple[int, int]:
    """The index of the phase that a step belongs to, and which of its steps it is."""
    for index, phase in enumerate(phases):
        if step < phase.steps:
            return index, step
        step -= phase.steps
    raise IndexError(step)


def total(phases: tuple[Phase, ...]) -> int:
    """Steps of all phases."""
    return sum(phase.steps for phase in phases)
