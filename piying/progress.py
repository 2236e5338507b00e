"""A finished step of a generation: how far it is, what there is to see, and how to keep it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from piying import chain, latents, resume
from piying.chain import Beginning, End
from piying.checks import blank, memory, nothing_seen
from piying.memory.place import Place
from piying.models.vae import Past
from piying.request import FullRequest
from piying.video import Video


@dataclass(frozen=True)
class Progress:
    """A finished step: how far the work is, and what there is to see."""

    clip: int  # 1..clips
    clips: int
    step: int  # 1..steps of this clip
    steps: int
    latents: Tensor  # [B F C h w], as clean as they are estimated by now
    timings: dict[str, float]  # seconds of each part
    place: Place
    requests: list[FullRequest]
    beginnings: list[Beginning | None]  # what each video's clip goes on from
    room: list[int | None]  # how many frames of each are still wanted
    state: resume.Saved

    def preview(self) -> np.ndarray:
        """The first frame of the first video's clip by now, uint8 [H W 3]; decodes a single latent frame."""
        with memory(self.requests[0]), torch.inference_mode():
            return latents.decode(self.place, self.latents[0, :1])[0]

    def videos(self) -> list[Video]:
        """What the clip by now adds to each video. Raises PiyingError where none shows anything; where some do, or one
        goes on from something, that is only told."""
        videos, checkpoint = [], self.place.checkpoint
        blanks = [blank(frames) for frames, _ in self.decoded]
        if all(blanks) and not any(self.beginnings):
            raise nothing_seen(str(blanks[0]), checkpoint)
        for row, request in enumerate(self.requests):
            (frames, _), begun = self.decoded[row], self.beginnings[row]
            if colour := blanks[row]:
                which = f"clip {self.clip}" if begun else f"seed {request.seed}"
                self.place.say(f"{which} is {colour}; another seed may show more")
            shown = chain.colours_of(begun).of(frames)
            videos.append(Video(shown[: self.room[row]], checkpoint.config.fps, request, dict(self.timings)))
        return videos

    def save(self, folder: Path) -> None:
        """Keeps the state, so that `stream(..., saved=folder)` goes on from it and ends with the same bytes."""
        resume.write(folder, self.clip, self.state, self.requests, self.place.checkpoint)

    @cached_property
    def decoded(self) -> list[tuple[np.ndarray, Past]]:
        """The new frames of each clip as decoded, uint8 [.. H W 3], and what the decoder remembers of them, which after
        the last clip is nothing."""
        decoded = []
        for clip, begun in zip(self.latents, self.beginnings, strict=True):
            new, past = (clip[len(begun.known) :], dict(begun.past)) if begun else (clip, {})
            needed, last = past if begun or self.clip < self.clips else None, self.clip == self.clips
            with memory(self.requests[0]), clock(self.timings, "decode"), torch.inference_mode():
                decoded.append((latents.decode(self.place, new, needed, keep=not last), {} if last else past))
        return decoded

    def ends(self) -> list[End | None]:
        """What the finished clips leave to the next ones."""
        return [
            chain.end_of_clip(self.place.checkpoint, request, clip, frames, past, chain.colours_of(begun))
            for request, clip, (frames, past), begun in zip(
                self.requests, self.latents, self.decoded, self.beginnings, strict=True
            )
        ]

    def room_after(self) -> list[int | None]:
        """How many frames of each video are still wanted after this clip."""
        return [room and max(room - len(new), 0) for room, (new, _) in zip(self.room, self.decoded, strict=True)]


@contextmanager
def clock(timings: dict[str, float], part: str) -> Iterator[None]:
    """Adds the seconds of what runs within to a part."""
    began = time.perf_counter()
    yield
    timings[part] += time.perf_counter() - began
