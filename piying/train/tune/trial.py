"""One real step before a training begins: how much memory it takes, how long it takes, when all of it will be done."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from piying.train.loop import Facts, State, train
from piying.train.tune.savings import GIB, Savings

STEPS = 2  # the first also warms up


@dataclass(frozen=True)
class Trial:
    """What was measured. On a CPU `peak` is all that the process has ever held."""

    savings: Savings
    peak: int  # bytes
    seconds: float  # a step
    left: float  # seconds that the steps which are left would take

    def __str__(self) -> str:
        minutes = self.left / 60
        return (
            f"one step: {self.seconds:.2f} s, {self.peak / GIB:.2f} GiB at most ({self.savings}); "
            f"all steps so in about {minutes:.0f} minutes, and what is measured and shown between them"
        )


def attempt(
    state: State[Any],
    batches: Callable[[int], Any],
    loss: Callable[[Any, Any], tuple[Tensor, Facts]],
    savings: Savings,
    device: torch.device,
    *,
    mixed: Collection[str],
    steps: int = STEPS,
) -> Trial:
    """Runs real steps and takes them back, bit by bit. `seconds` is the median of all but the first."""
    before = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.tensors().items()}
    step, began = state.step, [0.0]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def hook(seen: State[Any], facts: Facts) -> bool:
        facts["loss"].item()  # waits for the device
        began.append(time.monotonic())
        return seen.step == min(step + steps, seen.steps)

    began[0] = time.monotonic()
    train(state, batches, loss, [hook], mixed=mixed)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident()
    state.restore(step, before)
    took = [after - earlier for earlier, after in pairwise(began)]
    seconds = statistics.median(took[1:] or took)
    return Trial(savings, peak, seconds, seconds * (state.steps - step))


def _resident() -> int:
    """Bytes of main memory that this process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
