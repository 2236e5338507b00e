"""The whole state of a training on disk: written beside the last one, then renamed, so that a kill breaks neither."""

import json
import os
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from piying.errors import PiyingError

SHARD = 15 * 2**20  # bytes; a file stays under 16 MiB
KEPT = 2


def write(folder: Path, step: int, tensors: dict[str, Tensor]) -> Path:
    """Writes `folder/step-00001000` in one rename and removes all but the last two.

    Raises PiyingError, and leaves those before as they were, where the disk refuses.
    """
    target = folder / f"step-{step:08d}"
    part = folder / f".{target.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        shards = split(tensors)
        for index, shard in enumerate(shards):
            save_file(shard, part / f"{index:03d}.safetensors")
        (part / "state.json").write_text(json.dumps({"step": step, "shards": len(shards)}))
        for path in part.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        shutil.rmtree(target, ignore_errors=True)
        os.replace(part, target)
    except (OSError, SafetensorError) as error:
        said = f"{target}: cannot be written ({error}); make room, and --resume goes on from the one before"
        raise PiyingError(said) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for old in steps(folder)[:-KEPT]:
        shutil.rmtree(folder / f"step-{old:08d}")
    return target


def read(folder: Path) -> tuple[int, dict[str, Tensor]] | None:
    """The newest step and its tensors; None where nothing was saved. Raises PiyingError where a shard is gone."""
    found = steps(folder)
    if not found:
        return None
    target = folder / f"step-{found[-1]:08d}"
    state = json.loads((target / "state.json").read_text())
    paths = [target / f"{index:03d}.safetensors" for index in range(state["shards"])]
    for path in paths:
        if not path.is_file():
            raise PiyingError(f"{path}: missing from the checkpoint; remove {target} to go on from the one before")
    return state["step"], {name: tensor for path in paths for name, tensor in load_file(path).items()}


def forget(folder: Path, step: int) -> None:
    """Removes what was saved after a step."""
    for newer in steps(folder):
        if newer > step:
            shutil.rmtree(folder / f"step-{newer:08d}")


def steps(folder: Path) -> list[int]:
    """The steps that were saved, oldest first."""
    return sorted(step_of(path) for path in folder.glob("step-*"))


def step_of(path: Path) -> int:
    """The step of a checkpoint by its folder's name."""
    return int(path.name.removeprefix("step-"))


def split(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Tensors in shards of at most SHARD bytes (one larger tensor makes a shard of its own)."""
    shards: list[dict[str, Tensor]] = [{}]
    room = SHARD
    for name, tensor in tensors.items():
        if tensor.nbytes > room and shards[-1]:
            shards.append({})
            room = SHARD
        shards[-1][name] = tensor.detach().cpu().contiguous()
        room -= tensor.nbytes
    return shards
