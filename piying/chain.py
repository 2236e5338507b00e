"""One clip after another: what the end of a video leaves, and how the next clip takes it up.

Latents of a clip's end are carried over, not encoded anew, and the decoder goes on from where it stopped: clips join as
the frames within a clip do, and colours do not drift. Where there are frames alone (a given video, a model that goes on
from an image), they are encoded, and what follows is brought back to their colours.

Shapes: n shared frames, k = (n-1)/4 + 1 shared latent frames, C channels, h w latent cells, H W pixels.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from piying import latents
from piying.memory.place import Place
from piying.models.vae import Past
from piying.request import FullRequest, shared_frames
from piying.sampling.schedule import add_noise
from piying.video import frames_at
from piying.weights import Checkpoint


class Colours(NamedTuple):
    """What each channel of a decoded frame is multiplied by, and what is added then."""

    gain: np.ndarray  # [3]
    shift: np.ndarray  # [3]

    def of(self, frames: np.ndarray) -> np.ndarray:
        """Frames uint8 [... 3] in these colours."""
        if self is AS_DECODED:
            return frames
        return (frames * self.gain + self.shift).round().clip(0, 255).astype(np.uint8)


AS_DECODED = Colours(np.ones(3), np.zeros(3))


class End(NamedTuple):
    """The end of a video; where its latents are known, all but the first of them, which begins a clip of its own."""

    frames: np.ndarray  # uint8 [n H W 3]
    latents: Tensor | None = None  # [k-1 C h w], scaled
    past: Past | None = None  # what the decoder remembers of them, on the CPU
    colours: Colours = AS_DECODED


class Beginning(NamedTuple):
    """What a clip goes on from."""

    known: Tensor  # its first latent frames [k C h w], scaled
    past: Past
    colours: Colours


def colours_of(begun: Beginning | None) -> Colours:
    """The colours of a clip that goes on from a beginning, or from none."""
    return begun.colours if begun else AS_DECODED


def end_of_video(checkpoint: Checkpoint, request: FullRequest) -> End | None:
    """The end of the video that a request continues; None where it continues none."""
    if request.continues is None:
        return None
    most = shared_frames(request.frames, checkpoint.config)
    frames = deque(frames_at(request.continues, checkpoint.config.fps, request.size), maxlen=most)
    shared = (len(frames) - 1) // 8 * 8 + 1
    return End(np.stack(frames)[-shared:])


def end_of_clip(
    checkpoint: Checkpoint, request: FullRequest, clip: Tensor, frames: np.ndarray, past: Past, colours: Colours
) -> End:
    """What a finished clip leaves: its latents [F C h w], its last frames as decoded, uint8 [.. H W 3]."""
    shared = shared_frames(request.frames, checkpoint.config)
    if shared == 1:
        return End(colours.of(frames[-1:]))
    return End(frames[-shared:], clip[-(shared // 4) :], past, colours)


def begin(place: Place, ends: Sequence[End | None], generators: Sequence[torch.Generator]) -> list[Beginning | None]:
    """The end of each video as the beginning of its next clip."""
    return [end and _begin(place, end, draw) for end, draw in zip(ends, generators, strict=True)]


def holder(known: Sequence[Tensor | None], eps: Tensor, padding: int) -> Callable[[Tensor, float], Tensor] | None:
    """For `denoise`, what keeps known beginnings [k C h w] in x [B F C h w], with the noise eps that x began with."""
    if all(part is None for part in known):
        return None

    def hold(x: Tensor, alpha: float) -> Tensor:
        rows = []
        for row, noise, part in zip(x, eps, known, strict=True):
            if part is not None:
                part = latents.pad(part.to(row), padding)
                row = torch.cat([add_noise(part, noise[: len(part)], alpha), row[len(part) :]])
            rows.append(row)
        return torch.stack(rows)

    return hold


def _begin(place: Place, end: End, generator: torch.Generator) -> Beginning:
    scale = place.checkpoint.config.vae.latent_scale
    if end.latents is not None and end.past is not None:
        first = scale * latents.encode(place, end.frames[:1], generator)
        return Beginning(torch.cat([first.to(end.latents), end.latents]), end.past, end.colours)
    known = scale * latents.encode(place, end.frames, generator)
    past: Past = {}
    decoded = latents.decode(place, known, past)
    return Beginning(known, past, match(decoded, end.frames))


def match(frames: np.ndarray, like: np.ndarray) -> Colours:
    """What gives frames, uint8 [.. 3], the mean and the deviation of others, channel by channel (Reinhard et al. 2001).

    A deviation counts as one level at least, so that flat frames are moved and not stretched.
    """
    (mean, deviation), (wanted_mean, wanted_deviation) = (
        (part.reshape(-1, 3).mean(axis=0), part.reshape(-1, 3).std(axis=0).clip(min=1)) for part in (frames, like)
    )
    gain = wanted_deviation / deviation
    return Colours(gain, wanted_mean - gain * mean)
