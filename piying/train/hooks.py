"""What looks on while the loop runs: log, checkpoints, validation, pictures, clock. They own all printing."""

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from piying import ledger
from piying.checks import memory_or
from piying.data.dataset import write_whole
from piying.errors import PiyingError
from piying.parallel import ranks
from piying.train import checkpoint
from piying.train.loop import Facts, Hook, State

IN_A_ROW, RESCUES = 5, 3  # steps without finite gradients before the weights go back; how often they may


@dataclass(frozen=True)
class Event:
    """Something worth a line: a stage and its step, numbers by name, a file that was written; or a note alone."""

    stage: str
    step: int
    steps: int
    numbers: dict[str, float] = field(default_factory=dict)
    path: Path | None = None
    note: str = ""

    def __str__(self) -> str:
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in self.numbers.items())
        return self.note or f"{self.stage} {self.step}/{self.steps}  {numbers or self.path}"


Listener = Callable[[Event], None]


@dataclass
class Clock:
    """Ends a run after so many minutes of wall time, counted from its making and shared by all stages."""

    minutes: float | None
    began: float = field(default_factory=time.monotonic)

    def is_over(self) -> bool:
        return self.minutes is not None and time.monotonic() - self.began > 60 * self.minutes


def log(stage: str, path: Path, every: int, samples: Callable[[int], int], listen: Listener) -> Hook:
    """Means over each `every` steps, with samples a second and the seconds left, as an event and a line of JSON."""
    seen: dict[str, list[Tensor]] = defaultdict(list)
    mark = [time.monotonic(), 0.0]  # when the interval began, the samples in it

    def hook(state: State[Any], facts: Facts) -> None:
        for name, fact in facts.items():
            seen[name].append(fact.flatten())
        mark[1] += samples(state.step - 1)
        if state.step % every and state.step != state.steps:
            return
        refuse_infinite(state, facts)
        finite = {name: (values := torch.cat(all_values))[values.isfinite()] for name, all_values in seen.items()}
        means = {name: values.mean().item() for name, values in finite.items()}
        means = {name: mean for name, mean in means.items() if not math.isnan(mean)}  # bands that no sample fell into
        seconds = time.monotonic() - mark[0]
        pace = {
            "samples/s": mark[1] / seconds,
            "seconds left": seconds / len(seen["loss"]) * (state.steps - state.step),
        }
        record(Event(stage, state.step, state.steps, {**means, **pace}), path, listen)
        seen.clear()
        mark[:] = time.monotonic(), 0.0

    return hook


def validate(
    stage: str, path: Path | None, every: int, measure: Callable[[Any], dict[str, float]], listen: Listener
) -> Hook:
    """Measures the average weights every so often and at the last step."""

    def hook(state: State[Any], facts: Facts) -> None:
        if state.step % every == 0 or state.step == state.steps:
            numbers = {f"held out {name}": value for name, value in measure(state.average).items()}
            if numbers:
                record(Event(stage, state.step, state.steps, numbers), path, listen)

    return hook


def draw(stage: str, folder: Path, every: int, picture: Callable[[Any, Path], None], listen: Listener) -> Hook:
    """Pictures of what the average weights can do, told of where there is one. One that cannot be made is named, and
    the run goes on."""

    def hook(state: State[Any], facts: Facts) -> None:
        if state.step % every == 0 or state.step == state.steps:
            path = folder / f"{stage}-{state.step:08d}.png"
            said = ""
            try:
                path.parent.mkdir(exist_ok=True)
                with memory_or("does not fit into memory beside the training"):
                    picture(state.average, path)
            except (PiyingError, OSError) as error:
                said = f"{path}: not made, {error}"
            if said or path.is_file():
                listen(Event(stage, state.step, state.steps, path=path, note=said))

    return hook


def save(folder: Path, every: int, is_over: Callable[[], bool]) -> Hook:
    """Checkpoints, every so often, at the last step and where the clock ends the run, which it does here.

    None while gradients are not finite: the weights may be lost, and the last good ones would go for them. The clock
    waits for that, since `rescue` lets it last for a few steps alone.
    """

    def hook(state: State[Any], facts: Facts) -> bool:
        over = is_over()
        if state.lost[0] > 0:
            return False
        if over or state.step % every == 0 or state.step == state.steps:
            refuse_infinite(state, facts)
            checkpoint.write(folder, state.step, state.tensors())
        return over

    return hook


def rescue(stage: str, folder: Path, listen: Listener) -> Hook:
    """Counts steps without finite gradients; several in a row send the weights back to the last checkpoint.

    The run goes on with the next step, on other samples. Raises PiyingError where that does not help. All ranks look.
    """

    def hook(state: State[Any], facts: Facts) -> None:
        if facts["gradient"].isfinite():
            state.lost[0] = 0
            return
        state.lost[:2] += 1
        in_a_row, in_all, rescues = state.lost.tolist()
        numbers = {"gradients not finite": float(in_all)}
        if in_a_row >= IN_A_ROW:
            saved = checkpoint.read(folder)
            if saved is None or rescues == RESCUES:
                raise PiyingError(f"step {state.step}: {in_a_row} gradients in a row are not finite; use lower rates")
            state.restore(state.step, saved[1])
            state.lost = torch.tensor([0, in_all, rescues + 1])
            numbers["weights of step"] = float(saved[0])
            ranks.wait()
        listen(Event(stage, state.step, state.steps, numbers))

    return hook


def refuse_infinite(state: State, facts: Facts) -> None:
    """Raises PiyingError where the weights are lost. It waits for the device, so it is not for every step."""
    if not state.optimizer.forgiving and not facts["gradient"].isfinite():
        raise PiyingError(f"step {state.step}: the gradient is not finite; go on from the checkpoint with lower rates")


def record(event: Event, path: Path | None, listen: Listener) -> None:
    """An event, told and added to the log where there is one. Raises PiyingError where the disk refuses."""
    if path:
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": event.step, **event.numbers}) + "\n")
        except OSError as error:
            raise PiyingError(f"{path}: cannot be written ({error.strerror}); make room, then --resume") from error
    listen(event)


def forget(path: Path, step: int) -> None:
    """Removes the lines of a log after a step: those of a killed run, which its continuation writes again; and one that
    was cut off."""
    if path.is_file():
        lines = [json.dumps(line) for line in ledger.findings(path) if line["step"] <= step]
        write_whole(path, "".join(f"{line}\n" for line in lines))
