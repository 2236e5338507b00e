"""What goes wrong while a video is made: numbers overflow, memory runs out, the video shows nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from torch import Tensor

from piying.errors import OutOfMemory, PiyingError
from piying.memory.budget import ran_out
from piying.request import FullRequest
from piying.weights import Checkpoint

_BLACK = 16  # of 255, what H.264 calls black
_STRONG = 20  # guidance beyond this leaves what any model learned
_FLAT = 1.0  # of 255, the spread of a frame that is one colour to the eye


def finite(stage: str, x: Tensor, checkpoint: Checkpoint, guidance: float | None = None) -> Tensor:
    """x itself. Raises PiyingError with the stage and the likely cause where x holds NaN or infinity."""
    if x.isfinite().all():
        return x
    cause = _cause(checkpoint)
    if guidance is not None and guidance > _STRONG:
        cause = f"guidance={guidance} is too strong, use e.g. {checkpoint.config.guidance}"
    raise PiyingError(f"{stage} overflowed: {cause}")


def nothing_seen(colour: str, checkpoint: Checkpoint) -> PiyingError:
    """What is wrong where a video is `blank`."""
    return PiyingError(f"the video is {colour}: try another seed or prompt; if all are, {_cause(checkpoint)}")


def blank(frames: np.ndarray) -> str | None:
    """What frames uint8 [F H W 3] are that show nothing; None where they show something.

    Black: fewer than one value in a thousand reaches 16 of 255. Flat: in no frame the values of a colour channel spread
    (standard deviation) by 1 of 255.
    """
    if (frames >= _BLACK).mean() < 0.001:
        return "black"
    if max(frame.std(axis=(0, 1)).max() for frame in frames) < _FLAT:
        return "one flat colour"
    return None


@contextmanager
def memory(request: FullRequest) -> Iterator[None]:
    """Turns each way of running out of memory into the one error."""
    height, width = request.size
    advice = f"{request.frames} frames of {height}x{width} do not fit into memory: use fewer frames or a smaller size"
    with memory_or(advice):
        yield


@contextmanager
def memory_or(advice: str) -> Iterator[None]:
    """The same with words of its own."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(advice) from error


def _cause(checkpoint: Checkpoint) -> str:
    ours, better = str(checkpoint.dtype).removeprefix("torch."), checkpoint.config.precision
    if ours == better:
        return "the weights are damaged, fetch or train them again"
    return f"this model does not run in {ours}, load it in {better}"
