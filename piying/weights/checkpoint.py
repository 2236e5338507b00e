"""A checkpoint in memory, read from and written to a folder in the layout of diffusers.

model_index.json  piying.json  transformer/  vae/  text_encoder/  tokenizer/  scheduler/
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from piying.config import FAMILY, ModelConfig
from piying.errors import ModelMissing, PiyingError, UsageError
from piying.models.text import TextEncoder, Tokenizer
from piying.models.transformer import Transformer
from piying.models.vae import VAE
from piying.weights import diffusers_layout, safe

_DIFFUSERS, _TRANSFORMERS = "diffusion_pytorch_model", "model"  # the stems of weight files
_NANO = Path(__file__).parent / "nano"


@dataclass(frozen=True)
class Checkpoint:
    """One model, whole. `words` are those that it learned, by language, where that is known."""

    config: ModelConfig
    transformer: Transformer
    vae: VAE
    text: TextEncoder
    tokenizer: Tokenizer
    words: dict[str, list[str]] | None = None

    @property
    def device(self) -> torch.device:
        return self.transformer.proj_out.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.transformer.proj_out.weight.dtype


def load(
    name_or_folder: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype | None = None
) -> Checkpoint:
    """Reads a checkpoint, ready to generate (evaluation mode, no gradients).

    "nano" is the model inside this package; anything else is a folder. `dtype` is the precision that the configuration
    names where not given. Raises ModelMissing where there is no model, PiyingError where it is broken or not of the
    family, UsageError for a `dtype` that it does not run in.
    """
    folder = _folder(name_or_folder)
    config, words = diffusers_layout.read(folder)
    dtype = dtype or getattr(torch, config.precision)
    if dtype == torch.float16 and config.precision == "bfloat16":
        raise UsageError(f"dtype=float16: {config.name} overflows in it and gives black videos; use bfloat16")
    with torch.device("meta"):
        transformer, vae, text = Transformer(config.transformer), VAE(config.vae), TextEncoder(config.text)
    safe.read(transformer, folder / "transformer", _DIFFUSERS, device=device, dtype=dtype)
    safe.read(vae, folder / "vae", _DIFFUSERS, device=device, dtype=dtype)
    safe.read(
        text,
        folder / "text_encoder",
        _TRANSFORMERS,
        device=device,
        dtype=dtype,
        names=diffusers_layout.text_names(config.text),
        float32="ff.out.weight" if dtype == torch.float16 else None,  # float16 overflows there
    )
    for module in (transformer, vae, text):
        module.requires_grad_(False).eval()
    return Checkpoint(config, transformer, vae, text, Tokenizer.read(folder / "tokenizer"), words)


def save(
    checkpoint: Checkpoint, folder: Path, dtype: torch.dtype = torch.bfloat16, *, shard_bytes: int = 15 * 2**20
) -> None:
    """Writes a checkpoint that `load` and diffusers read, in files that any git host takes.

    The folder appears whole or not at all; a model that stood there is replaced. Raises PiyingError where the folder
    cannot be written or holds something else.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "model_index.json").is_file():
        raise PiyingError(f"{folder}: holds something that is not a model; choose another folder")
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write(checkpoint, partial, dtype, shard_bytes)
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise PiyingError(f"{folder}: cannot be written ({error}); choose another place") from error


def _write(checkpoint: Checkpoint, folder: Path, dtype: torch.dtype, shard_bytes: int) -> None:
    config, tokenizer = checkpoint.config, checkpoint.tokenizer
    kind = "PreTrainedTokenizerFast" if "tokenizer.json" in tokenizer.files else "T5Tokenizer"
    diffusers_layout.write(config, checkpoint.words, kind, folder)
    names = diffusers_layout.text_names(config.text)
    for part, module, stem in (
        ("transformer", checkpoint.transformer, _DIFFUSERS),
        ("vae", checkpoint.vae, _DIFFUSERS),
        ("text_encoder", checkpoint.text, _TRANSFORMERS),
    ):
        tensors = {
            names.get(name, name) if part == "text_encoder" else name: tensor.to(dtype)
            for name, tensor in module.state_dict().items()
        }
        safe.write(tensors, folder / part, stem, shard_bytes)
    (folder / "tokenizer").mkdir()
    for name, content in tokenizer.files.items():
        (folder / "tokenizer" / name).write_bytes(content)


def _folder(name_or_folder: str | Path) -> Path:
    """Where a model lies. A name of the family is a name, whatever folders there are; ./name means a folder."""
    if str(name_or_folder) == "nano":
        if not _NANO.is_dir():
            raise ModelMissing("nano: its weights are not in this installation; train them with `piying train-nano`")
        return _NANO
    folder = Path(name_or_folder)
    if folder.is_dir():
        return folder
    if member := FAMILY.get(str(name_or_folder)):
        raise ModelMissing(f"{member.name}: not on this machine; download {member.hub} and give its folder")
    raise ModelMissing(f"{name_or_folder}: no such folder and no known model; known are {', '.join(FAMILY)}")
