"""Tensors from safetensors files straight to where they will live, checked by name, shape and value; and back.

A file is memory-mapped: its header says what it holds, and a tensor is read when it is taken. Nothing is executed.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from safetensors.torch import save_file
from torch import Tensor, nn

from piying.errors import ModelMissing, PiyingError
from piying.files import replacing

HEADER_LIMIT = 8 * 2**20  # bytes; the largest published file of the family has a header of 0.1 MB
PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
_FLOATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
_QUANTISED = {"I8": torch.int8}  # where a folder is marked as such
_INTEGERS = {"I64": torch.int64, "I32": torch.int32}  # of single numbers alone: kohya's alpha may be one


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, known by the header. `read` gives it memory-mapped."""

    path: Path
    name: str  # as the file has it
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    quantised: bool = False  # keeps its type: its values mean something only together with scales

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def lie(self, dtype: torch.dtype) -> Tensor:
        """The tensor in host memory in a precision: still memory-mapped where that is the file's, and not looked at."""
        return self.read().to(self.kept_in(dtype))

    def kept_in(self, dtype: torch.dtype) -> torch.dtype:
        """The type that it has in a model of some precision."""
        return self.dtype if self.quantised else dtype

    def take(self, device: str | torch.device, dtype: torch.dtype) -> Tensor:
        """The tensor on a device in a precision. Raises PiyingError where a value is not finite there.

        It travels in the file's precision and is cast where it arrives, so no copy stays in main memory.
        """
        tensor = self.read().to(device).to(self.kept_in(dtype))
        seen = tensor.float() if tensor.dtype.itemsize == 1 else tensor  # eight bits know no order
        if not tensor.numel() or torch.stack(seen.aminmax()).isfinite().all():
            return tensor
        if self.read().to(device).float().isfinite().all():
            short = str(dtype).removeprefix("torch.")
            raise PiyingError(f"{self.path}: {self.name} is too large for {short}; load the model in bfloat16")
        raise PiyingError(f"{self.path}: {self.name} holds values that are no finite numbers; fetch it again")


def fill(
    module: nn.Module,
    tensors: Mapping[str, Stored],
    origin: Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype,
    names: Mapping[str, str] | None = None,
    float32: str | None = None,
    waiting: str | None = None,
) -> None:
    """Fills a module that was built on the meta device, one tensor after the other.

    `names` gives the published name of each parameter where it is another one; parameters that end in `float32` keep
    that type; `origin` stands in the message where a tensor is missing. Parameters that begin with `waiting` stay in
    the mapped file, unread, and of these only such as are no float16 become float32. Raises PiyingError, before
    anything is read, for a tensor that is missing, unknown or of the wrong shape, and while reading for one that is not
    finite.
    """
    wanted = check(module, tensors, origin, names)

    def placed(name: str, stored: Stored) -> Tensor:
        wide = float32 is not None and name.removesuffix("_scale").endswith(float32)
        if waiting is not None and name.startswith(waiting):
            return stored.lie(torch.float32 if wide and stored.dtype != torch.float16 else dtype)
        return stored.take(device, torch.float32 if wide else dtype)

    module.load_state_dict(
        {wanted[name]: placed(wanted[name], stored) for name, stored in tensors.items()}, assign=True
    )


def check(
    module: nn.Module, tensors: Mapping[str, Stored], origin: Path, names: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Published name -> parameter, for tensors that are exactly those of the module. Raises PiyingError as `fill`."""
    tensors_wanted = module.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors_wanted.items()}
    wanted = {(names or {}).get(name, name): name for name in shapes}
    for published in wanted:
        if published not in tensors:
            raise PiyingError(f"{origin}: the tensor {published} is missing; fetch it again")
    for published, stored in tensors.items():
        if published not in wanted:
            raise PiyingError(f"{stored.path}: the tensor {stored.name} belongs to no part of this model")
        shape = shapes[wanted[published]]
        if stored.shape != shape:
            raise PiyingError(f"{stored.path}: {stored.name} has the shape {stored.shape}; the config says {shape}")
        kind = tensors_wanted[wanted[published]].dtype
        if kind.itemsize == 1 and kind != stored.dtype:
            raise PiyingError(f"{stored.path}: {stored.name} is {stored.dtype}; the config says {kind}")
    return wanted


def locate(folder: Path, stem: str, *, quantised: bool = False) -> dict[str, Stored]:
    """The tensors of folder/stem.safetensors, or of the shards in its index; those with scales keep their type where
    they are `quantised`.

    Raises ModelMissing where a file is not there, and otherwise as `contents`.
    """
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if single.is_file():
        return contents(single, quantised=quantised)
    if not index.is_file():
        pickled = next((path for path in sorted(folder.glob("*")) if path.suffix in PICKLES), None)
        instead = f"; {pickled.name} is a pickle, which may run code: see `piying convert`" if pickled else ""
        raise ModelMissing(f"{folder}: {single.name} is missing{instead}")
    tensors: dict[str, Stored] = {}
    for path in shards(index):
        for name, stored in contents(path, quantised=quantised).items():
            if name in tensors:
                raise PiyingError(f"{path}: the tensor {name} is in {tensors[name].path.name} as well; fetch it again")
            tensors[name] = stored
    return tensors


def contents(path: Path, *, quantised: bool = False) -> dict[str, Stored]:
    """The tensors of one file by their names; only its header is read.

    Raises ModelMissing where there is no file, and PiyingError for one that is cut off, is a pickle, or has a header
    out of proportion, and for tensors that are not of floating point.
    """
    file = _opened(path)
    tensors = {}
    for name in file.keys():  # noqa: SIM118 (a handle, not a dict)
        header = file.get_slice(name)
        shape = tuple(header.get_shape())
        known = _FLOATS | (_QUANTISED if quantised else {}) | ({} if shape else _INTEGERS)
        if header.get_dtype() not in known:
            raise PiyingError(f"{path}: {name} is of type {header.get_dtype()}: no finite numbers, so no weights")
        dtype = known[header.get_dtype()]
        own = quantised and dtype.itemsize == 1
        tensors[name] = Stored(path, name, shape, dtype, partial(file.get_tensor, name), own)
    return tensors


def metadata(path: Path) -> dict[str, str]:
    """What one file says of itself. Raises as `contents`."""
    return _opened(path).metadata() or {}


def shards(index: Path) -> list[Path]:
    """The files that an index names. Raises PiyingError or ModelMissing, naming the one that is not there."""
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


def write(tensors: Mapping[str, Tensor], folder: Path, stem: str, shard_bytes: int) -> None:
    """Writes folder/stem.safetensors, or numbered shards of at most `shard_bytes` of tensors each, and their index."""
    _write({name: tensor.nbytes for name, tensor in tensors.items()}, tensors.__getitem__, folder, stem, shard_bytes)


def rewrite(tensors: Mapping[str, Stored], folder: Path, stem: str, shard_bytes: int, dtype: torch.dtype) -> None:
    """The same from files, in a precision: no more than one shard is in memory. Raises PiyingError as `Stored.take`."""
    sizes = {name: prod(stored.shape) * stored.kept_in(dtype).itemsize for name, stored in tensors.items()}
    _write(sizes, lambda name: tensors[name].take("cpu", dtype), folder, stem, shard_bytes)


def write_file(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Writes one file, the same bytes for the same content, which appears under its name only when it is whole.

    Raises PiyingError where it cannot be written.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = serialize(whole, {"format": "pt", **metadata})
    size = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + size])  # whose order is by chance
    header = json.dumps(entries, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # so that tensors begin at whole words
    try:
        with replacing(path) as partial, partial.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.write(memoryview(content)[8 + size :])
    except OSError as error:
        raise PiyingError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def _write(sizes: Mapping[str, int], take: Callable[[str], Tensor], folder: Path, stem: str, shard_bytes: int) -> None:
    groups: list[list[str]] = [[]]
    size = 0
    for name, nbytes in sizes.items():
        if groups[-1] and size + nbytes > shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += nbytes
    folder.mkdir(parents=True, exist_ok=True)
    files = [f"{stem}-{number:05}-of-{len(groups):05}.safetensors" for number in range(1, len(groups) + 1)]
    if len(groups) == 1:
        files = [f"{stem}.safetensors"]
    for file, group in zip(files, groups, strict=True):
        # unnamed, so that one shard is gone before the next is there
        save_file({name: take(name).detach().cpu().contiguous() for name in group}, folder / file, {"format": "pt"})
    if len(groups) > 1:
        weight_map = {name: file for file, group in zip(files, groups, strict=True) for name in group}
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2), "utf-8")


def _opened(path: Path):
    if not path.is_file():
        raise ModelMissing(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04")):
            raise PiyingError(f"{path}: is a pickle, not a safetensors file, and may run code: see `piying convert`")
        header = int.from_bytes(start, "little")
        if HEADER_LIMIT < header <= path.stat().st_size:
            raise PiyingError(f"{path}: not a safetensors file of weights (a header of {header / 1e6:.0f} MB)")
        return safe_open(path, framework="pt", device="cpu")
    except (SafetensorError, OSError) as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise PiyingError(f"{path}: not a whole safetensors file ({reason}); fetch it again") from error
