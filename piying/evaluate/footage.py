"""The clips that an evaluation looks at: each made once, and kept as the MP4 that a person would get.

A set of clips is a folder of `0000.mp4` and so on, numbered as its cases are. What can only be measured while a clip is
made, before the video file rounds it, stands in `numbers.jsonl` beside it.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from piying import ledger
from piying.evaluate.fidelity import psnr, reconstruct, ssim
from piying.evaluate.looks import CANVAS
from piying.evaluate.prompts import Case
from piying.generate import Model
from piying.models.vae import VAE
from piying.request import Request
from piying.theatre.ahead import Job, draw_ahead
from piying.theatre.scene import FPS, FRAMES, Scene
from piying.theatre.stage import render
from piying.video import Video

NUMBERS = "numbers.jsonl"
SILENCE = "."  # the prompt that tells nothing
RENDERED = 16  # clips drawn at a time
TOGETHER = 16  # videos of nano's canvas that a GPU makes at a time; larger ones come alone, so that a stop loses one

Listener = Callable[[str], None]


class Staged(Protocol):
    """Whatever tells of one scene."""

    @property
    def scene(self) -> Scene: ...


@dataclass(frozen=True)
class Deadline:
    """Ends the making after so many minutes of wall time."""

    minutes: float | None
    began: float = field(default_factory=time.monotonic)

    def is_over(self) -> bool:
        return self.minutes is not None and time.monotonic() - self.began > 60 * self.minutes


def film_rendered(cases: Sequence[Staged], folder: Path) -> None:
    """What the cases promise, as the theatre draws it."""
    batches = _missing(range(len(cases)), folder, RENDERED)
    for batch, clips in zip(batches, _draw(cases, batches), strict=True):
        for i, clip in zip(batch, clips.numpy(), strict=True):
            Video(clip, FPS).save(_path(folder, i))


def film_reconstructed(cases: Sequence[Staged], folder: Path, vae: VAE, device: str) -> None:
    """The same through the VAE and back; `psnr` in dB and `ssim` are means over frames."""
    batches = _missing(range(len(cases)), folder, RENDERED)
    for batch, clips in zip(batches, _draw(cases, batches), strict=True):
        for i, clip, rebuilt in zip(batch, clips, reconstruct(vae, clips.to(device)).cpu(), strict=True):
            ledger.add(
                folder / NUMBERS,
                {"clip": i, "psnr": psnr(clip, rebuilt).mean().item(), "ssim": ssim(clip, rebuilt).mean().item()},
            )
            Video(rebuilt.numpy(), FPS).save(_path(folder, i))


def film_generated(model: Model, cases: Sequence[Case], folder: Path, deadline: Deadline, on_event: Listener) -> None:
    """Videos of the captions. A case's seed is its scene's, so that both languages start from the same noise."""
    requests = {i: Request(prompt=case.caption, seed=case.scene.seed) for i, case in enumerate(cases)}
    film(model, requests, folder, deadline, on_event)


def film_silence(model: Model, cases: Sequence[Case], folder: Path, deadline: Deadline, on_event: Listener) -> None:
    """Videos of a prompt that tells nothing, from the same seeds."""
    requests = {i: Request(prompt=SILENCE, seed=case.scene.seed) for i, case in enumerate(cases)}
    film(model, requests, folder, deadline, on_event)


def film_from_first(model: Model, cases: Sequence[Case], folder: Path, deadline: Deadline, on_event: Listener) -> None:
    """Videos that begin with a rendered first frame: `psnr` of their first frame, `ceiling` of the VAE alone, in dB."""
    folder.mkdir(parents=True, exist_ok=True)
    config, requests, given = model.checkpoint.config, {}, {}
    for i, case in enumerate(cases):
        given[i] = render([case.scene], frames=config.frames, size=config.size).frames[0, :1]
        image = folder / f"{i:04d}.png"
        Image.fromarray(given[i][0].numpy()).save(image)
        requests[i] = Request(prompt=case.caption, seed=case.scene.seed, image=image)

    def measure(i: int, video: Video) -> None:
        device = model.checkpoint.transformer.proj_out.weight.device
        ceiling = psnr(given[i], reconstruct(model.checkpoint.vae, given[i][None].to(device))[0].cpu())
        first = psnr(given[i], torch.from_numpy(video.frames[:1].copy()))
        ledger.add(folder / NUMBERS, {"clip": i, "psnr": first.item(), "ceiling": ceiling.item()})

    film(model, requests, folder, deadline, on_event, measure)


def film(
    model: Model,
    requests: Mapping[int, Request],
    folder: Path,
    deadline: Deadline,
    on_event: Listener,
    measure: Callable[[int, Video], None] | None = None,
) -> None:
    """The videos of requests that are not there yet, under their numbers; what is made together shares adapters.

    `measure` is given each before it is saved.
    """
    device, size = model.checkpoint.transformer.proj_out.weight.device.type, model.checkpoint.config.size
    together = TOGETHER if device == "cuda" and math.prod(size) <= math.prod(CANVAS) else 1
    for batch in _missing(requests, folder, together):
        if deadline.is_over():
            return
        for i, video in zip(batch, model.make(*(requests[i] for i in batch)), strict=True):
            if measure:
                measure(i, video)
            video.save(_path(folder, i))
        on_event(f"{folder.name}: {len(requests.keys() & filmed(folder))} of {len(requests)}")


def same_again(model: Model, cases: Sequence[Case]) -> list[bool]:
    """Whether each case, made twice alone, gives the same frames."""
    same = []
    for case in cases:
        request = Request(prompt=case.caption, seed=case.scene.seed)
        first, second = (model.make(request)[0].frames for _ in range(2))
        same.append(np.array_equal(first, second))
    return same


def filmed(folder: Path) -> dict[int, Path]:
    """The clips of a set that are there, by number."""
    return {int(path.stem): path for path in sorted(folder.glob("*.mp4"))}


def numbers(folder: Path, name: str) -> dict[int, float]:
    """One kind of number of the clips that are there, by their number."""
    by_clip = {line["clip"]: line[name] for line in ledger.findings(folder / NUMBERS)}  # the last of two
    return {clip: by_clip[clip] for clip in filmed(folder) if clip in by_clip}


def _draw(cases: Sequence[Staged], batches: Sequence[Sequence[int]]) -> Iterator[torch.Tensor]:
    """The scenes of each batch as the theatre draws them, uint8 [N F H W 3]."""
    return draw_ahead([Job([cases[i].scene for i in batch], FRAMES) for batch in batches], CANVAS, RENDERED)


def _missing(numbers: Sequence[int] | Mapping[int, Request], folder: Path, size: int) -> list[list[int]]:
    """The clips that are not there, in batches."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i in numbers if not _path(folder, i).exists()]
    return [missing[start : start + size] for start in range(0, len(missing), size)]


def _path(folder: Path, i: int) -> Path:
    return folder / f"{i:04d}.mp4"
