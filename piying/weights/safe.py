"""Tensors from safetensors files straight into a module, checked by name, shape and value; and back."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from safetensors.torch import save_file
from torch import Tensor, nn

from piying.errors import ModelMissing, PiyingError


def read(
    module: nn.Module,
    folder: Path,
    stem: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype,
    names: Mapping[str, str] | None = None,
    float32: str | None = None,
) -> None:
    """Fills a module that was built on the meta device from folder/stem.safetensors, or from the shards in its index.

    `names` gives the published name of each parameter where it is another one; parameters that end in `float32` keep
    that type. Raises ModelMissing where a file is not there, and PiyingError for a broken file and for a tensor that is
    missing, unknown, of the wrong shape, or not finite.
    """
    wanted = {(names or {}).get(name, name): name for name in module.state_dict()}
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    files = locate(folder, stem)
    for published in wanted:
        if published not in files:
            raise PiyingError(f"{folder}: the tensor {published} is missing; fetch the folder again")
    for published, path in files.items():
        if published not in wanted:
            raise PiyingError(f"{path}: the tensor {published} belongs to no part of this model")
    tensors: dict[str, Tensor] = {}
    for path in dict.fromkeys(files.values()):
        with _opened(path, device) as file:
            for published in file.keys():  # noqa: SIM118 (a handle, not a dict)
                name = wanted[published]
                found = tuple(file.get_slice(published).get_shape())
                if found != shapes[name]:
                    raise PiyingError(f"{path}: {published} has the shape {found}; the config says {shapes[name]}")
                tensor = file.get_tensor(published)
                if not tensor.is_floating_point() or not tensor.sum(dtype=torch.float32).isfinite():
                    raise PiyingError(f"{path}: {published} holds values that are no finite numbers; fetch it again")
                tensors[name] = tensor.to(torch.float32 if float32 and name.endswith(float32) else dtype)
    module.load_state_dict(tensors, assign=True)


def locate(folder: Path, stem: str) -> dict[str, Path]:
    """The file of each tensor. Raises ModelMissing or PiyingError as `read` does."""
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if single.is_file():
        paths = [single]
    elif index.is_file():
        paths = _shards(index)
    else:
        raise ModelMissing(f"{folder}: {single.name} is missing")
    files: dict[str, Path] = {}
    for path in paths:
        with _opened(path, "cpu") as file:
            files |= dict.fromkeys(file.keys(), path)
    return files


def read_all(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every tensor of one file on the CPU, and the file's metadata.

    Raises ModelMissing where there is no file, and PiyingError where it is broken.
    """
    if not path.is_file():
        raise ModelMissing(f"{path}: no such file")
    with _opened(path, "cpu") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (a handle, not a dict)
        return tensors, file.metadata() or {}


def write_all(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Writes one file, the same bytes for the same content, which appears under its name only when it is whole.

    Raises PiyingError where it cannot be written.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = serialize(whole, {"format": "pt", **metadata})
    size = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + size])  # whose order is by chance
    header = json.dumps(entries, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # so that tensors begin at whole words
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.write(memoryview(content)[8 + size :])
        os.replace(partial, path)
    except OSError as error:
        raise PiyingError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    finally:
        partial.unlink(missing_ok=True)


def write(tensors: Mapping[str, Tensor], folder: Path, stem: str, shard_bytes: int) -> None:
    """Writes folder/stem.safetensors, or numbered shards of at most `shard_bytes` of tensors each, and their index."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor.detach().cpu().contiguous()
        size += tensor.nbytes
    if len(shards) == 1:
        save_file(shards[0], folder / f"{stem}.safetensors", {"format": "pt"})
        return
    files = [f"{stem}-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    for file, shard in zip(files, shards, strict=True):
        save_file(shard, folder / file, {"format": "pt"})
    total = sum(tensor.nbytes for tensor in tensors.values())
    weight_map = {name: file for file, shard in zip(files, shards, strict=True) for name in shard}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2), "utf-8")


def _shards(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        paths = [index.parent / name for name in sorted(names)]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise PiyingError(f"{index}: not an index of tensors; fetch it again") from error
    for path in paths:
        if path.parent != index.parent:
            raise PiyingError(f"{index}: names the file {path} outside its own folder")
        if not path.is_file():
            raise ModelMissing(f"{index.parent}: {path.name} is missing")
    return paths


def _opened(path: Path, device: str | torch.device):
    try:
        return safe_open(path, framework="pt", device=str(device))
    except (SafetensorError, OSError) as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise PiyingError(f"{path}: not a whole safetensors file ({reason}); fetch it again") from error
