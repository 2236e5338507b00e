"""The causal 3D autoencoder of CogVideoX (arXiv:2408.06072, section 2.1): 4 x 8 x 8 pixels to one latent cell.

Shapes: B batch, C channels, F frames, H W pixels, f h w latent cells.

Video is worked in chunks of frames. Convolutions look back into the previous chunk through `past`, a dictionary that
one call of encode or decode fills; group norms take their statistics over one chunk, so the schedule of chunks is part
of the result. Where no gradients are wanted, a GPU works each chunk in bands of rows, with the same result.
"""

import torch
from torch import Tensor, nn

from piying.config import VAEConfig
from piying.kernels.machine import serve
from piying.models import vae_bands
from piying.models.vae_memory import Call, Task, plan
from piying.models.vae_parts import FRAME_CHUNK, LATENT_CHUNK, Decoder, Encoder, Past, decoded_frames, schedule


class VAE(nn.Module):
    """Pixels to the mean and log variance of latents, and latents to pixels."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def encode(self, pixels: Tensor, past: Past | None = None, *, limit: int | None = None) -> tuple[Tensor, Tensor]:
        """pixels [B 3 F H W] in -1..1 -> mean and log variance, each [B C f h w], before any latent scale.

        With the `past` that an earlier call filled, 8n frames go on from those. `limit`: bytes that this may take
        beside weights and pixels; the result is the same. Raises OutOfMemory where it is too low, see
        `vae_memory.peak`. It holds where no gradients are wanted.
        """
        _, _, frames, height, width = pixels.shape
        chunks = schedule(frames, FRAME_CHUNK)
        if self._in_bands(self.encoder, pixels, limit):
            call = self._call("encode", frames, (height, width), pixels, past)
            moments = vae_bands.encode(self.encoder, pixels, chunks, past, plan(call, limit))
        else:
            past = {} if past is None else past
            pixels = pixels.contiguous(memory_format=torch.channels_last_3d)  # convolutions run faster so, everywhere
            moments = torch.cat([self.encoder(chunk, past) for chunk in pixels.split(chunks, dim=2)], dim=2)
        mean, logvar = moments.chunk(2, dim=1)
        return mean, logvar.clamp(-30, 20)

    def decode(self, latents: Tensor, past: Past | None = None, *, limit: int | None = None) -> Tensor:
        """latents [B C f h w] without latent scale -> pixels [B 3 F H W], about -1..1.

        With the `past` that an earlier call filled, on any device, an even number of latent frames goes on from those.
        `limit` as in `encode`.
        """
        count, height, width = latents.shape[2:]
        chunks = decoded_at_once(count, bool(past))
        if self._in_bands(self.decoder, latents, limit):
            call = self._call("decode", decoded_frames(count), (8 * height, 8 * width), latents, past)
            return vae_bands.decode(self.decoder, latents, chunks, past, plan(call, limit))
        past = {} if past is None else past
        latents = latents.contiguous(memory_format=torch.channels_last_3d)
        return torch.cat([self.decoder(chunk, past) for chunk in latents.split(chunks, dim=2)], dim=2)

    def _call(self, task: Task, frames: int, size: tuple[int, int], x: Tensor, past: Past | None) -> Call:
        return Call(
            task=task,
            config=self.config,
            frames=frames,
            size=size,
            dtype=x.dtype,
            batch=len(x),
            device=x.device.type,
            kernels=serve(x),
            remember=past is not None,
        )

    @staticmethod
    def _in_bands(part: nn.Module, x: Tensor, limit: int | None) -> bool:
        """Whether to work in bands: on a GPU or where memory is limited, and not while training."""
        trains = torch.is_grad_enabled() and (x.requires_grad or next(part.parameters()).requires_grad)
        return (x.is_cuda or limit is not None) and not (trains or torch.is_autocast_enabled(x.device.type))


def decoded_at_once(latent_frames: int, goes_on: bool) -> list[int]:
    """How many latent frames each chunk has, of a video or of what goes on from one."""
    return [LATENT_CHUNK] * (latent_frames // LATENT_CHUNK) if goes_on else schedule(latent_frames, LATENT_CHUNK)


def to_pixels(frames: Tensor) -> Tensor:
    """uint8 [B F H W 3] -> float32 [B 3 F H W] in -1..1."""
    return frames.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def to_frames(pixels: Tensor) -> Tensor:
    """[B 3 F H W] in -1..1, clipped -> uint8 [B F H W 3], rounded to the nearest."""
    values = (pixels.float() + 1).mul_(127.5).round_().clamp_(0, 255)
    return values.to(torch.uint8).permute(0, 2, 3, 4, 1)
