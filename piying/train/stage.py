"""What the three stages share: where they are, and one way to run, resume and finish."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from piying.errors import UsageError
from piying.parallel import ranks
from piying.train import checkpoint, hooks, shards
from piying.train.hooks import Clock, Listener
from piying.train.loop import MIXED, Descent, Facts, Hook, M, State, train
from piying.train.recipe import OptimizerRecipe


class Rhythm(Protocol):
    """How often a run is looked at, and whether it is compiled: what every recipe says."""

    @property
    def compile(self) -> bool: ...

    @property
    def log_every(self) -> int: ...

    @property
    def save_every(self) -> int: ...

    @property
    def validate_every(self) -> int: ...

    @property
    def sheet_every(self) -> int: ...


R = TypeVar("R", bound=Rhythm, covariant=True)


@dataclass(frozen=True)
class Run(Generic[R]):
    """One call of a training: what, where, on what, how long, and who listens."""

    recipe: R
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
    descent: Callable[[], Descent | None] = lambda: None  # the optimizer, where it is not nano's
    mixed: Collection[str] = MIXED  # see `train`
    before: Callable[[State[M]], None] | None = None  # looks at the state before the first step of a call
    split: bool = False  # each rank holds a part of the weights, and saves it for itself


def perform(stage: Stage[M], run: Run[Any]) -> M | None:
    """Runs a stage from its last checkpoint to its end: the average weights; None where the clock ended it before."""
    recipe, folder = run.recipe, run.out / stage.name
    if stage.split:
        folder = part_of(folder)
    state = State(stage.model.to(run.device), stage.optimizer, stage.steps, stage.descent())
    if saved := checkpoint.read(folder):
        state.restore(*saved)
    if stage.before and state.step < stage.steps:
        stage.before(state)
    looking_on = _hooks(stage, run, folder, state.step) if ranks.rank() == 0 else _beside(stage, run, folder)
    if state.optimizer.forgiving:
        looking_on.insert(0, hooks.rescue(stage.name, folder, run.listen if ranks.rank() == 0 else silent))
    if recipe.compile and run.device.type == "cuda":
        for part in stage.compiled():
            part.compile(dynamic=False)
    ended = train(state, stage.batches, stage.loss, looking_on, mixed=stage.mixed)
    return state.average.eval() if ended else None


def part_of(folder: Path) -> Path:
    """Where this rank saves its part, up to the last step that every rank has: a kill may come while they save.

    Raises UsageError where the parts are of another number of ranks.
    """
    count, mine = ranks.count(), folder / f"{ranks.rank()}-of-{ranks.count()}"
    for path in folder.glob("*-of-*"):
        if path.name.split("-of-")[1] != str(count):
            raise UsageError(f"{path}: weights in other parts; go on with as many processes, here are {count}")
    checkpoint.forget(mine, shards.newest(checkpoint.steps(mine), folder))
    return mine


def _beside(stage: Stage[M], run: Run[Any], folder: Path) -> list[Hook]:
    """What ranks above 0 have to do: what all ranks do together, and to save what they alone hold."""
    if not stage.split:
        return []
    validation = hooks.validate(stage.name, None, run.recipe.validate_every, stage.measure, silent)
    return [validation, hooks.save(folder, run.recipe.save_every, _is_over(stage, run))]


def _is_over(stage: Stage[M], run: Run[Any]) -> Callable[[], bool]:
    """Whether the clock ends the run: where all ranks save, that of rank 0, or they would part."""
    return (lambda: ranks.lead(run.clock.is_over())) if stage.split else run.clock.is_over


def silent(event: hooks.Event) -> None:
    """Rank 0 speaks for all."""


def _hooks(stage: Stage[M], run: Run[Any], folder: Path, step: int) -> list[Hook]:
    """All that looks on; the log forgets what a killed run did after `step`."""
    recipe, log = run.recipe, run.out / f"{stage.name}.jsonl"
    hooks.forget(log, step)
    looking_on: list[Hook] = [
        hooks.log(stage.name, log, recipe.log_every, stage.samples, run.listen),
        hooks.validate(stage.name, log, recipe.validate_every, stage.measure, run.listen),
        hooks.save(folder, recipe.save_every, _is_over(stage, run)),
    ]
    if stage.picture:
        looking_on.append(hooks.draw(stage.name, run.out / "sheets", recipe.sheet_every, stage.picture, run.listen))
    return looking_on


def finished(name: str, model: M, steps: int, run: Run[Any]) -> M | None:
    """The average weights of a stage that ended in an earlier run, in `model`; None where it has not ended."""
    saved = checkpoint.read(run.out / name)
    if saved is None or saved[0] < steps:
        return None
    weights = {key.removeprefix("average/"): value for key, value in saved[1].items() if key.startswith("average/")}
    model.load_state_dict(weights)
    return model.to(run.device).requires_grad_(False).eval()
