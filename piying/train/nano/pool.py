"""Clips of the theatre, drawn once and used often: as frames for the autoencoder, as latents for the transformer.

Both pools grow while they are used, so that training begins before all of it is drawn. What is in a pool at a step is
decided by the step alone; where the drawing is late, training waits.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from piying import device as devices
from piying.files import replacing
from piying.models.vae import VAE, to_pixels
from piying.parallel import ranks
from piying.theatre.ahead import draw_ahead
from piying.theatre.scene import FRAMES, Scene
from piying.train.hooks import Clock, Event, Listener

TOGETHER = 4  # clips that a core draws at a time
FILE = 32  # clips that are encoded together and kept in one file


def draw(scenes: Sequence[Scene], size: tuple[int, int]) -> Iterator[Tensor]:
    """Frames of each scene in order, uint8 [F H W 3], drawn ahead of their reader from the call on."""
    jobs = [(scenes[i : i + TOGETHER], FRAMES) for i in range(0, len(scenes), TOGETHER)]
    waiting = devices.memory() // 8  # bytes of frames that may wait for their reader
    room = max(waiting // (TOGETHER * FRAMES * size[0] * size[1] * 3), 1)
    return chain.from_iterable(draw_ahead(jobs, size, room))


class Frames:
    """Clips of scenes as they are seen."""

    def __init__(self, scenes: Sequence[Scene], size: tuple[int, int], device: torch.device) -> None:
        self.clips = torch.empty(len(scenes), FRAMES, *size, 3, dtype=torch.uint8, device=device)
        self._drawn = draw(scenes, size)
        self._ready = 0

    def first(self, count: int) -> Tensor:
        """The first `count` clips, uint8 [N F H W 3]."""
        for index in range(self._ready, count):
            self.clips[index] = next(self._drawn)
        self._ready = max(self._ready, count)
        return self.clips[:count]


class Latents:
    """Clips of scenes, encoded and brought to unit variance. Files in `folder` keep what is done."""

    def __init__(self, scenes: Sequence[Scene], size: tuple[int, int], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.count = len(scenes)
        self._size = size
        self._ready = self._kept = 0
        while self._path(self._kept).is_file() and self._kept < self.count:
            self._kept = min(self._kept + FILE, self.count)
        self._drawn = draw(scenes[self._kept :], size)

    def encode_with(self, vae: VAE, latent_scale: float, frames: int, device: torch.device) -> None:
        """Says how. `frames`: of each clip, from its first."""
        self._vae, self._scale, self._frames = vae, latent_scale, frames
        shape = (self.count, vae.config.latent_channels, self._size[0] // 8, self._size[1] // 8)
        self.clips = torch.empty(shape[0], (frames - 1) // 4 + 1, *shape[1:], dtype=torch.float16, device=device)
        # An image's latent is not its clip's first one: norms span a chunk of frames.
        self.images = torch.empty(shape[0], 2, *shape[1:], dtype=torch.float16, device=device)  # first, last frame

    def grow(self, count: int, clock: Clock | None = None, listen: Listener | None = None) -> bool:
        """Sees to it that the first `count` clips are there; False where the clock ended that."""
        while self._ready < count:
            end = min(self._ready + FILE, self.count)
            path, kept = self._path(self._ready), self._ready < self._kept
            made = load_file(path) if kept else self._encode(end - self._ready, path)
            self.clips[self._ready : end] = made["clips"].to(self.clips.device)
            self.images[self._ready : end] = made["images"].to(self.clips.device)
            self._ready = end
            if listen:
                listen(Event(f"latents {self.folder.name}", end, count, path=path))
            if (
                clock and ranks.lead(clock.is_over()) and not kept and end < count
            ):  # even a run of no time at all gets on
                return False
        return True

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:06d}.safetensors"

    @torch.no_grad()
    def _encode(self, count: int, path: Path) -> dict[str, Tensor]:
        """The next clips, encoded and kept."""
        frames = torch.stack([next(self._drawn) for _ in range(count)])[:, : self._frames]
        with torch.autocast(self.clips.device.type, torch.bfloat16, enabled=self.clips.is_cuda):
            pixels = to_pixels(frames.to(self.clips.device))
            images = [self._vae.encode(image)[0] for image in (pixels[:, :, :1], pixels[:, :, -1:])]
            clips = torch.cat([self._vae.encode(clip)[0] for clip in pixels.split(8)])
        made = {"clips": clips, "images": torch.cat(images, dim=2)}
        made = {
            name: (self._scale * latents.float().transpose(1, 2)).half().cpu().contiguous()
            for name, latents in made.items()
        }
        with replacing(path) as partial:
            save_file(made, partial)
        return made


def draw_all(scenes: Sequence[Scene], size: tuple[int, int], device: torch.device) -> Tensor:
    """Frames of every scene, uint8 [N F H W 3]."""
    return Frames(scenes, size, device).first(len(scenes))
