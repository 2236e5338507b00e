"""What each rank does for one video: it has the whole model and works out its part of every result.

Every method is called on all ranks with the same arguments and returns the whole result on each.

Shapes: B rows, F latent frames, C channels, h w latent cells, L text tokens, D width.
"""

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from math import gcd

import torch
import torch.distributed as dist
from torch import Tensor

from piying.adapters.rack import Rack, Use
from piying.adapters.store import Found
from piying.models.quant import narrowed
from piying.models.transformer import Modulations, Transformer
from piying.models.vae import VAE, decoded_at_once
from piying.models.vae_parts import FRAME_CHUNK, Past, decoded_frames, schedule
from piying.parallel import ranks
from piying.parallel.chunks import decoder_layers, encoder_layers, relay
from piying.parallel.parts import even, gather
from piying.parallel.sequence import Share, sharing
from piying.weights import Checkpoint


class Member:
    """One rank of several; made on all ranks at once."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.rank, self.count = ranks.rank(), ranks.count()
        self._rack, self._adapters_on = Rack(checkpoint.transformer), ExitStack()
        self.shares: dict[int, Share | None] = {1: None, self.count: Share()}  # by the ranks that share a row
        for width in range(2, self.count):
            if self.count % width == 0:
                groups = [dist.new_group(list(range(first, first + width))) for first in range(0, self.count, width)]
                self.shares[width] = Share(groups[self.rank // width])

    def predict(self, x: Tensor, text: Tensor, blocks: Tensor, out: Tensor, narrow: bool) -> Tensor:
        """v [B F C_out h w] from latents [B F C h w], embedded text [B L D] and modulations, those of the blocks as
        [2 layers B 2 3 D]; with `narrow` by products of eight bits.

        Rows go to ranks first: the guided pair runs on two without a word between them. Where there are more ranks,
        those of a row share its sequence.
        """
        lanes = gcd(len(x), self.count)
        width = self.count // lanes
        lane = self.rank // width
        x, text, out = (tensor.chunk(lanes)[lane] for tensor in (x, text, out))
        flat = blocks.chunk(lanes, dim=1)[lane].unbind()
        transformer = self.checkpoint.transformer
        with sharing(transformer, self.shares[width]), narrowed(transformer) if narrow else nullcontext():
            modulations = Modulations(list(zip(flat[::2], flat[1::2], strict=True)), out)
            v = Transformer.predict(transformer, x, text, modulations)
        return gather(v, [len(v)] * self.count, 0).unflatten(0, (lanes, width, -1))[:, 0].flatten(0, 1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """T5 states [B L D] of tokens [B L]: some rows on each rank."""
        sizes, encoder = even(len(tokens), self.count), self.checkpoint.text
        mine = tokens.split(sizes)[self.rank]
        states = encoder(mine) if len(mine) else encoder.norm.weight.new_empty(*mine.shape, encoder.config.width)
        return gather(states, sizes, 0)

    def decode(self, latents: Tensor, goes_on: bool, keep: bool, past: Past | None = None) -> Tensor:
        """Pixels [B 3 F H W] of latents [B C f h w]: some chunks on each rank.

        With `goes_on` rank 0 has the past of what came before in `past`, and with `keep` it finds there what to go on
        from later.
        """
        vae = self.checkpoint.vae
        chunks = latents.split(decoded_at_once(latents.shape[2], goes_on), dim=2)
        shapes = [
            (len(chunk), 3, decoded_frames(chunk.shape[2]), *(8 * side for side in chunk.shape[3:])) for chunk in chunks
        ]
        layers = decoder_layers(vae.decoder, latents)
        return relay(chunks, partial(VAE.decode, vae), layers, shapes, past=past, keep=keep)

    def encode(self, pixels: Tensor) -> Tensor:
        """Mean and log variance [B 2C f h w] of pixels [B 3 F H W]: some chunks on each rank."""
        vae = self.checkpoint.vae
        chunks = pixels.split(schedule(pixels.shape[2], FRAME_CHUNK), dim=2)
        moments = 2 * vae.config.latent_channels
        shapes = [
            (len(chunk), moments, (chunk.shape[2] + 3) // 4, *(side // 8 for side in chunk.shape[3:]))
            for chunk in chunks
        ]

        def encode(chunk: Tensor, past: Past) -> Tensor:
            return torch.cat(VAE.encode(vae, chunk, past), dim=1)

        return relay(chunks, encode, encoder_layers(vae.encoder, pixels), shapes, past=None, keep=False)

    def take(self, found: Found) -> None:
        """Reads an adapter."""
        self._rack.take(found)

    def put_on(self, uses: Sequence[Use], merged: bool) -> None:
        """Exactly these adapters are on from now on."""
        self._adapters_on.close()
        self._adapters_on.enter_context(self._rack.on(uses, merged=merged))
