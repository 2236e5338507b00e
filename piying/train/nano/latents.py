"""Clips of the theatre as latents, made once and used often, for the transformer.

The pool grows while it is used, as that of frames does. Files keep what is done. A process that trains on a GPU leaves
drawing and encoding to one beside it, whose files it reads: its own interpreter has enough to do.
"""

import copy
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.synchronize import Semaphore
from pathlib import Path

import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file
from torch import Tensor

from piying.errors import PiyingError
from piying.files import replacing
from piying.models.vae import VAE, to_pixels
from piying.parallel import cores, ranks
from piying.theatre.scene import Scene
from piying.train.hooks import Clock, Event, Listener
from piying.train.nano.ahead import send
from piying.train.nano.frames import draw

FILE = 32  # clips that are encoded together and kept in one file
AHEAD = 8  # files that a process beside makes ahead of their reader


@dataclass(frozen=True)
class Order:
    """What is to be encoded, and how: all that the files depend on."""

    scenes: Sequence[Scene]
    size: tuple[int, int]  # pixels of the canvas
    frames: int  # of each clip, from its first
    vae: VAE
    latent_scale: float
    folder: Path

    def path(self, start: int) -> Path:
        """The file that begins with this clip."""
        return self.folder / f"{start:06d}.safetensors"

    def kept(self) -> int:
        """Clips at the beginning whose files are there."""
        starts = range(0, len(self.scenes), FILE)
        return next((start for start in starts if not self.path(start).is_file()), len(self.scenes))


class Latents:
    """The clips of an order, brought to unit variance."""

    def __init__(self, order: Order, device: torch.device, *, beside: bool = False) -> None:
        """`beside`: they are made by a process of their own, from now on; else here, when they are asked for."""
        order.folder.mkdir(parents=True, exist_ok=True)
        count, (height, width) = len(order.scenes), order.size
        shape = (order.vae.config.latent_channels, height // 8, width // 8)
        self.clips = torch.empty(count, (order.frames - 1) // 4 + 1, *shape, dtype=torch.float16, device=device)
        # An image's latent is not its clip's first one: norms span a chunk of frames.
        self.images = torch.empty(count, 2, *shape, dtype=torch.float16, device=device)  # first, last frame
        self._order = order
        self._ready, self._kept = 0, order.kept()
        self._make = _beside(self, order, device) if beside else _here(order, device)

    def grow(self, count: int, clock: Clock | None = None, listen: Listener | None = None) -> bool:
        """Sees to it that the first `count` clips are there; False where the clock ended that."""
        while self._ready < count:
            end = min(self._ready + FILE, len(self.clips))
            path, kept = self._order.path(self._ready), self._ready < self._kept
            if not kept:
                self._make(path)
            made = load_file(path)
            clips, images = send([made["clips"], made["images"]], self.clips.device)
            self.clips[self._ready : end] = clips
            self.images[self._ready : end] = images
            self._ready = end
            if listen:
                listen(Event(f"latents {self._order.folder.name}", end, count, path=path))
            # Even a run of no time at all gets on.
            if clock and ranks.lead(clock.is_over()) and not kept and end < count:
                return False
        return True


def _here(order: Order, device: torch.device) -> Callable[[Path], object]:
    files = make(order, device)
    return lambda path: next(files)


def _beside(owner: object, order: Order, device: torch.device) -> Callable[[Path], None]:
    """The process ends with its owner, with the process that it works for, or when all is done."""
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    order = replace(order, vae=copy.deepcopy(order.vae).cpu())  # a GPU's memory is not shared
    processes = get_context("spawn")
    room = processes.Semaphore(AHEAD)
    maker = processes.Process(target=_serve, args=(order, device, room), name=f"latents {order.folder}")
    maker.start()
    weakref.finalize(owner, maker.terminate)

    def wait(path: Path) -> None:
        room.release()
        while not path.is_file():
            if not maker.is_alive() and not path.is_file():
                raise PiyingError(f"{path}: the process that draws and encodes clips ended; what it said is above")
            time.sleep(0.01)

    return wait


def _serve(order: Order, device: torch.device, room: Semaphore) -> None:
    cores.end_with_parent()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    files = make(order, device)
    while room.acquire() and next(files, None):
        pass


def make(order: Order, device: torch.device) -> Iterator[Path]:
    """Draws, encodes and keeps what is not there yet: each file in its turn."""
    first, vae = order.kept(), order.vae.to(device)
    drawn = draw(order.scenes[first:], order.size, lead=FILE)
    for start in range(first, len(order.scenes), FILE):
        frames = torch.stack([next(drawn) for _ in order.scenes[start : start + FILE]])[:, : order.frames]
        with replacing(order.path(start)) as partial:
            save_file(_encode(vae, order.latent_scale, to_pixels(frames.to(device))), partial)
        yield order.path(start)


@torch.no_grad()
def _encode(vae: VAE, scale: float, pixels: Tensor) -> dict[str, Tensor]:
    """pixels [N 3 F H W] -> clips [N f C h w], and images [N 2 C h w] of the first and the last frame alone."""
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=pixels.is_cuda):
        images = [vae.encode(image)[0] for image in (pixels[:, :, :1], pixels[:, :, -1:])]
        clips = vae.encode(pixels)[0]
    made = {"clips": clips, "images": torch.cat(images, dim=2)}
    return {name: (scale * part.float().transpose(1, 2)).half().cpu().contiguous() for name, part in made.items()}
