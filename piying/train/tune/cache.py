"""Clips as latents and captions as text states, made once and kept beside the dataset under what they were made of.

A file is named by the media and by how they are shown to the autoencoder; inside it says which autoencoder made it, in
which precision. Made by another one, it is not read but made anew. Kept are mean and log variance, so that each use
draws a sample of its own.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from piying.adapters.attach import sampled
from piying.data.dataset import Clip, Dataset
from piying.errors import PiyingError, UsageError
from piying.models.text import TextEncoder, Tokenizer
from piying.models.vae import VAE, to_pixels
from piying.video import frames_at, read_image
from piying.weights import safe

FOLDER = "cache"
_TRANSFORM = "scaled and cut around the centre, nearest frame, 1"  # its number rises with what the pixels depend on


@dataclass(frozen=True)
class Moments:
    """What the autoencoder says of a clip, before any latent scale."""

    mean: Tensor  # [F C h w]
    logvar: Tensor
    ends_mean: Tensor  # [2 C h w] of the first and the last frame, each alone
    ends_logvar: Tensor


class LatentCache:
    """Moments by clip. `vae` is asked for when something has to be encoded, and not before; the work keeps within
    `memory` (bytes)."""

    def __init__(
        self,
        dataset: Dataset,
        mark: str,
        precision: str,
        fps: int,
        vae: Callable[[], VAE],
        memory: int | None,
        tell: Callable[[str], None],
    ) -> None:
        self.dataset, self.fps, self._vae, self._tell, self._memory = dataset, fps, vae, tell, memory
        self._made_by = {"vae": mark, "precision": precision}
        self._folder = _made(dataset.folder / FOLDER)

    def path(self, clip: Clip) -> Path:
        key = [clip.sha256, clip.frames, clip.size, self.fps, _TRANSFORM]
        return self._folder / f"{_digest(key)}.safetensors"

    def fill(self, clips: Sequence[Clip], device: torch.device) -> None:
        """Encodes what is missing; a clip that cannot be read is named and left out.

        Raises PiyingError where the disk refuses or the autoencoder overflows.
        """
        missing = []
        for clip in clips:
            path = self.path(clip)
            if not path.is_file():
                missing.append(clip)
            elif not self._fits(path):
                self._tell(f"{clip.id}: its latents in {path.parent} are another autoencoder's, and are made anew")
                missing.append(clip)
        for number, clip in enumerate(missing, 1):
            try:
                frames = self._frames(clip)
            except UsageError as error:
                self._tell(f"{clip.id}: left out, {error}")
                continue
            safe.write_file(self._encode(clip, frames, device), self.path(clip), self._made_by)
            self._tell(f"latents {number} of {len(missing)}  {clip.id}")

    def holds(self, clip: Clip) -> bool:
        return self.path(clip).is_file() and self._fits(self.path(clip))

    def read(self, clip: Clip) -> Moments:
        stored = safe.contents(self.path(clip))
        return Moments(*(stored[name].read() for name in ("mean", "logvar", "ends_mean", "ends_logvar")))

    def _fits(self, path: Path) -> bool:
        try:
            found = safe.metadata(path)
        except PiyingError:  # cut off
            return False
        return all(found.get(name) == value for name, value in self._made_by.items())

    @torch.no_grad()
    def _encode(self, clip: Clip, frames: np.ndarray, device: torch.device) -> dict[str, Tensor]:
        vae = self._vae()
        dtype = next(vae.parameters()).dtype
        pixels = to_pixels(torch.tensor(frames)[None]).to(device, dtype)
        limit = None
        if self._memory:
            limit = self._memory - pixels.nbytes - sum(parameter.nbytes for parameter in vae.parameters())
        whole = [x[0].transpose(0, 1) for x in vae.encode(pixels, limit=limit)]
        ends = [[x[0, :, 0] for x in vae.encode(image)] for image in (pixels[:, :, :1], pixels[:, :, -1:])]
        found = {
            "mean": whole[0],
            "logvar": whole[1],
            "ends_mean": torch.stack([ends[0][0], ends[1][0]]),
            "ends_logvar": torch.stack([ends[0][1], ends[1][1]]),
        }
        for tensor in found.values():
            if not tensor.isfinite().all():
                raise PiyingError(f"{self.dataset.path(clip)}: the autoencoder overflowed on it; use another precision")
        return {name: tensor.float().half() if dtype != torch.bfloat16 else tensor for name, tensor in found.items()}

    def _frames(self, clip: Clip) -> np.ndarray:
        """uint8 [F H W 3]"""
        path = self.dataset.path(clip)
        if clip.frames == 1 and path.suffix.lower() == ".png":
            return read_image(path, clip.size)[None]
        frames = list(islice(frames_at(path, self.fps, clip.size), clip.frames))
        if len(frames) < clip.frames:
            raise UsageError(f"{path}: holds {len(frames)} frames at {self.fps} a second, {clip.frames} were promised")
        return np.stack(frames)


class TextCache:
    """Text states [L D] by caption. `encoder` is asked for when a caption is new."""

    def __init__(
        self,
        folder: Path,
        mark: str,
        precision: str,
        tokenizer: Tokenizer,
        tokens: int,
        encoder: Callable[[], TextEncoder],
        tell: Callable[[str], None],
    ) -> None:
        self._folder, self._made_by = _made(folder / FOLDER), [mark, precision]
        self._tokenizer, self._tokens, self._encoder, self._tell = tokenizer, tokens, encoder, tell

    @torch.no_grad()
    def states(self, texts: Iterable[str], device: torch.device) -> dict[str, Tensor]:
        """The states of each text, on the CPU in the precision of the encoder."""
        wanted = list(dict.fromkeys(texts))
        missing = [text for text in wanted if not self._path(text).is_file()]
        for text in missing:
            encoder = self._encoder()
            states = encoder(self._tokenizer([text], self._tokens).to(device))[0]
            if not states.isfinite().all():
                raise PiyingError("the text encoder overflowed; use bfloat16")
            safe.write_file({"states": states}, self._path(text), {"text": text})
        if missing:
            self._tell(f"text states of {len(missing)} new captions")
        return {text: safe.contents(self._path(text))["states"].read() for text in wanted}

    def _path(self, text: str) -> Path:
        numbers = self._tokenizer([text], self._tokens)[0].tolist()
        return self._folder / f"text-{_digest([*self._made_by, numbers])}.safetensors"


def mark_of(tensors: Mapping[str, safe.Stored]) -> str:
    """A SHA-256 over names, shapes and some values of each stored tensor."""
    return sampled(((name, stored.read()) for name, stored in sorted(tensors.items())), torch.float32)


def _digest(key: object) -> str:
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise PiyingError(f"{folder}: cannot be made ({error.strerror}); make the dataset's folder writable") from error
    return folder
