"""The state of a generation on disk: a killed one goes on from it and ends with the same bytes.

A folder holds one safetensors file a clip, with the requests in its metadata: the state after the last saved step, and
of a finished clip its latents.
"""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from piying.errors import PiyingError, UsageError
from piying.files import replacing
from piying.request import FullRequest
from piying.weights import Checkpoint


class Saved(NamedTuple):
    """A clip after a step."""

    step: int  # 1..steps
    x: Tensor  # [B F C h w]; after the last step the clip's latents
    x0: Tensor  # [B F C h w], the estimate that a sampler of second order goes on with
    random: Tensor  # uint8 [B bytes], the state of each video's generator
    estimates: Tensor  # [K 2 B F C h w], what a fast run foretells steps from; none for an exact one


def write(folder: Path, clip: int, saved: Saved, requests: Sequence[FullRequest], checkpoint: Checkpoint) -> None:
    """Keeps a clip (counted from 1) in one rename. Raises PiyingError where the disk refuses."""
    target = folder / f"clip-{clip:05}.safetensors"
    told = {"step": saved.step, "weights": fingerprint(checkpoint), "requests": _plain(requests)}
    tensors = {"x": saved.x, "x0": saved.x0, "random": saved.random, "estimates": saved.estimates}
    try:
        folder.mkdir(exist_ok=True)
        plain = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        with replacing(target) as partial:
            save_file(plain, partial, {"piying": json.dumps(told)})
    except (OSError, SafetensorError) as error:
        raise PiyingError(f"{target}: cannot be written ({error}); make room, or generate without saving") from error


def read(folder: Path, clip: int, requests: Sequence[FullRequest], checkpoint: Checkpoint) -> Saved | None:
    """A clip as it was saved; None where it was not.

    Raises UsageError where the folder belongs to other requests or other weights, PiyingError for a broken file.
    """
    path = folder / f"clip-{clip:05}.safetensors"
    if not path.is_file():
        return None
    told, tensors = _opened(path, ("x", "x0", "random", "estimates"))
    if told["requests"] != _plain(requests):
        raise UsageError(f"{folder}: was saved for another request; give it the one that it was saved for")
    if told["weights"] != fingerprint(checkpoint):
        raise UsageError(f"{folder}: was saved with other weights than {requests[0].model} holds now; put those back")
    return Saved(told["step"], **tensors)


def read_request(folder: Path) -> FullRequest:
    """The request that a folder goes on with. Raises UsageError where it is no such folder."""
    path = folder / "clip-00001.safetensors"
    if not path.is_file():
        raise UsageError(f"{folder}: holds no saved generation; give the folder that --save-every wrote")
    told, _ = _opened(path, ())
    return FullRequest.model_validate(told["requests"][0])


def remove(folder: Path) -> None:
    """Deletes what `write` keeps, whole or broken off, and the folder where it holds nothing else."""
    for path in (*folder.glob("clip-[0-9]*.safetensors"), *folder.glob(".clip-[0-9]*.safetensors.*.part")):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # holds other things, or is gone
        folder.rmdir()


def random(generators: Sequence[torch.Generator]) -> Tensor:
    """The state of each generator, uint8 [B bytes]."""
    return torch.stack([generator.get_state() for generator in generators])


def rewind(generators: Sequence[torch.Generator], states: Tensor) -> None:
    """Puts generators back to where they were."""
    for generator, state in zip(generators, states, strict=True):
        generator.set_state(state.clone())  # takes no view


def fingerprint(checkpoint: Checkpoint) -> str:
    """Tells weights apart in a moment: the first numbers of every tensor and the precision."""
    found = hashlib.sha256(f"{checkpoint.config} {checkpoint.dtype}".encode())
    for module in (checkpoint.transformer, checkpoint.vae, checkpoint.text):
        for name, tensor in module.state_dict().items():
            found.update(name.encode() + str(tensor.flatten()[:8].tolist()).encode())
    return found.hexdigest()


def _plain(requests: Sequence[FullRequest]) -> list[dict[str, Any]]:
    return [request.model_dump(mode="json") for request in requests]


def _opened(path: Path, names: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            told = json.loads(file.metadata()["piying"])
            return told, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise PiyingError(f"{path}: not a saved generation ({error}); remove it to begin anew") from error
