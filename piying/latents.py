"""Between frames and scaled latents, and what a model is given besides the prompt.

Shapes: F latent frames, C channels, h w latent cells, H W pixels.
"""

from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from piying.checks import finite
from piying.config import ModelConfig
from piying.memory.lend import at_hand
from piying.memory.place import Place
from piying.models.vae import Past, to_frames, to_pixels
from piying.request import FullRequest
from piying.video import frames_at, read_image

Shape = tuple[int, int, int, int]
_SHOWN = 8  # frames that become 8-bit numbers at a time: in float32 all of them would be larger than the decoder's work


def shape(config: ModelConfig, request: FullRequest) -> tuple[int, Shape]:
    """Latent frames that are added in front to fill a patch and dropped before decoding, and the shape [F C h w]."""
    latent_frames = (request.frames - 1) // 4 + 1
    padding = -latent_frames % config.transformer.patch[0]
    height, width = request.size
    return padding, (latent_frames + padding, config.vae.latent_channels, height // 8, width // 8)


def encode(place: Place, frames: np.ndarray, generator: torch.Generator) -> Tensor:
    """Frames uint8 [4F-3 H W 3] as latents [F C h w] before any scale, drawn from what the VAE says of them."""
    checkpoint = place.checkpoint
    pixels = to_pixels(torch.tensor(frames)[None]).to(checkpoint.device, checkpoint.dtype)

    def moments() -> tuple[Tensor, Tensor]:
        limit = None if place.vae_limit is None else place.vae_limit - pixels.nbytes
        with at_hand(checkpoint.vae, checkpoint.device):
            return checkpoint.vae.encode(pixels, limit=limit)

    mean, logvar = place.fitting("decode", moments)
    drawn = mean + torch.exp(0.5 * logvar) * torch.randn(mean.shape, generator=generator).to(mean)
    return finite("the encoding of the given frames", drawn, checkpoint)[0].transpose(0, 1)


def decode(place: Place, latents: Tensor, past: Past | None = None, *, keep: bool = True) -> np.ndarray:
    """Scaled latents [F C h w] as frames uint8 [4F-3 H W 3], or [4F H W 3] where they go on from a past.

    What the next clip goes on from takes the place of the past, unless there is none to `keep` it for. It lies in
    ordinary memory: at 480x720 it takes 3 GB, which a card needs for other things between two clips.
    """
    checkpoint = place.checkpoint
    unscaled = (latents[None].transpose(1, 2) / checkpoint.config.vae.latent_scale).to(checkpoint.dtype)

    def decoded() -> tuple[Tensor, Past | None]:
        here = None if past is None else dict(past)  # which comes to the card layer by layer
        with at_hand(checkpoint.vae, checkpoint.device):
            return checkpoint.vae.decode(unscaled, here, limit=place.vae_limit), here

    pixels, here = place.fitting("decode", decoded)
    if keep and past is not None and here is not None:
        past.update({part: seen.cpu() for part, seen in here.items()})
    del here
    shown = [to_frames(finite("decoding", part, checkpoint))[0].cpu() for part in pixels.split(_SHOWN, dim=2)]
    return torch.cat(shown).numpy()


def condition(
    place: Place,
    requests: Sequence[FullRequest],
    known: Sequence[Tensor | None],
    generators: Sequence[torch.Generator],
    shape: Shape,
) -> Tensor | None:
    """What stands on the condition channels [B F C h w]; None for a model without.

    Known beginnings [k C h w], and where there is none given images, at their places in time, zeros elsewhere.
    """
    checkpoint, config = place.checkpoint, place.checkpoint.config
    if config.transformer.in_channels == config.transformer.out_channels:
        return None
    channels = torch.zeros(len(requests), *shape, device=checkpoint.device, dtype=checkpoint.dtype)
    for row, request, beginning, generator in zip(channels, requests, known, generators, strict=True):
        if beginning is not None:
            row[: len(beginning)] = config.vae.image_latent_scale / config.vae.latent_scale * beginning
            continue
        for frame, path in ((0, request.image), (-1, request.last_image)):
            if path is not None:
                image = encode(place, read_image(path, request.size)[None], generator)
                row[frame] = config.vae.image_latent_scale * image[0]
    return channels


def video(
    place: Place, requests: Sequence[FullRequest], generators: Sequence[torch.Generator], padding: int
) -> Tensor | None:
    """The videos that are made anew as scaled latents, float32 [B F C h w]; None where there are none."""
    rows, config = [], place.checkpoint.config
    for request, generator in zip(requests, generators, strict=True):
        if request.video is None:
            return None
        frames = list(islice(frames_at(request.video, config.fps, request.size), request.frames))
        encoded = config.vae.latent_scale * encode(place, np.stack(frames), generator)
        rows.append(pad(encoded.float(), padding))
    return torch.stack(rows)


def pad(latents: Tensor, padding: int) -> Tensor:
    """The first of the latent frames [F C h w] so many times more in front."""
    return torch.cat([latents[:1]] * padding + [latents])
