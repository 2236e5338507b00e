"""Tensors from a pickle, which the authors' own checkpoints are. Only `--allow-pickle` of `piying convert` and
`piying adapters convert` comes here.

torch reads it with weights_only: tensors, numbers, text and containers are built, and anything else is refused before
it runs.
"""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from piying.errors import ModelMissing, PiyingError
from piying.weights.safe import Stored

_DEEPER = ("module", "model", "state_dict")  # where SAT, older SAT and Lightning keep the tensors
# SAT stores the state of numpy's random numbers beside the weights; these build arrays and nothing else.
_ARRAYS: list[Any] = [
    (np.empty(0).__reduce__()[0], "numpy.core.multiarray._reconstruct"),
    np.empty(0).__reduce__()[0],
    np.ndarray,
    np.dtype,
    type(np.dtype(np.uint32)),
]


def contents(path: Path) -> dict[str, Stored]:
    """The tensors of a pickle by their names, memory-mapped where the file allows it.

    Raises ModelMissing where there is no file, and PiyingError for one that is broken or holds more than data; nothing
    in it is executed.
    """
    if not path.is_file():
        raise ModelMissing(f"{path}: no such file")
    try:
        with torch.serialization.safe_globals(_ARRAYS), warnings.catch_warnings(action="ignore"):
            values = _load(path)
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL|class) ([\w.]+\.\w+)", str(error))
        what = f"{named[1]} in it" if named else "something in it"
        raise PiyingError(
            f"{path}: {what} is no data and was not run; use the file that the authors publish"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = re.split(r"[.\n]", str(error))[0]
        raise PiyingError(f"{path}: not a whole pickle of tensors ({reason}); fetch it again") from error
    while isinstance(values, Mapping) and (deeper := next((key for key in _DEEPER if key in values), None)):
        values = values[deeper]
    if not isinstance(values, Mapping):
        raise PiyingError(f"{path}: holds no weights by name; use the file that the authors publish")
    return {
        name: Stored(path, name, tuple(tensor.shape), tensor.dtype, tensor.detach)
        for name, tensor in values.items()
        if isinstance(name, str)
        and isinstance(tensor, Tensor)
        and (tensor.is_floating_point() or name.endswith(".alpha"))  # kohya's alpha may be a whole number
    }


def _load(path: Path) -> Any:
    """Files from before torch 1.6 are no archives and cannot be mapped."""
    with path.open("rb") as file:
        archive = file.read(4) == b"PK\x03\x04"
    return torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
