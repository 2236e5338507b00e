"""The parts of a checkpoint that a crew runs together. Each is what it was, with the same weights under the same names;
only its heavy calls go to all ranks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from piying.adapters.adapter import Adapter
from piying.adapters.rack import Rack, Use
from piying.adapters.store import Found
from piying.models.quant import products
from piying.models.text import TextEncoder
from piying.models.transformer import Modulations, Transformer
from piying.models.vae import VAE, decoded_at_once
from piying.models.vae_parts import FRAME_CHUNK, Past, schedule
from piying.parallel.crew import Crew
from piying.weights import Checkpoint


def shared(crew: Crew) -> Checkpoint:
    """The checkpoint that every rank has loaded, run by all of them."""
    own = crew.member.checkpoint
    return replace(
        own,
        transformer=SharedTransformer(own.transformer, crew),
        vae=SharedVAE(own.vae, crew),
        text=SharedTextEncoder(own.text, crew),
    )


class SharedTransformer(Transformer):
    def __init__(self, own: Transformer, crew: Crew) -> None:
        _become(self, own)
        self.crew = crew

    def predict(self, x: Tensor, text: Tensor, modulations: Modulations) -> Tensor:
        blocks = torch.stack([table for pair in modulations.blocks for table in pair])
        narrow = next(iter(products(self).values())).narrow
        return self.crew.run("predict", x, text, blocks, modulations.out, plain=(narrow,))


class SharedTextEncoder(TextEncoder):
    def __init__(self, own: TextEncoder, crew: Crew) -> None:
        _become(self, own)
        self.crew = crew

    def forward(self, tokens: Tensor) -> Tensor:
        return self.crew.run("encode_text", tokens)


class SharedVAE(VAE):
    """A single chunk, as a preview is, needs no other rank; nor does a call whose memory is limited."""

    def __init__(self, own: VAE, crew: Crew) -> None:
        _become(self, own)
        self.crew = crew

    def encode(self, pixels: Tensor, past: Past | None = None, *, limit: int | None = None) -> tuple[Tensor, Tensor]:
        if past is not None or limit is not None or len(schedule(pixels.shape[2], FRAME_CHUNK)) == 1:
            return super().encode(pixels, past, limit=limit)
        mean, logvar = self.crew.run("encode", pixels).chunk(2, dim=1)
        return mean, logvar

    def decode(self, latents: Tensor, past: Past | None = None, *, limit: int | None = None) -> Tensor:
        if limit is not None or len(decoded_at_once(latents.shape[2], bool(past))) == 1:
            return super().decode(latents, past, limit=limit)
        return self.crew.run("decode", latents, plain=(bool(past), past is not None), here=(past,))


class SharedRack(Rack):
    """Adapters on every rank."""

    def __init__(self, transformer: Transformer, crew: Crew) -> None:
        super().__init__(transformer)
        self._crew = crew
        self._told: tuple[Sequence[Use], bool] = ((), False)

    def take(self, found: Found) -> Adapter:
        new = found.sha256 not in self._adapters
        adapter = super().take(found)
        if new:
            self._crew.tell("take", found)
        return adapter

    @contextmanager
    def on(self, uses: Sequence[Use], *, merged: bool = False) -> Iterator[None]:
        """As of one rank; the others keep them on, since they run nothing outside."""
        if self._told != (uses, merged):
            self._crew.tell("put_on", uses, merged)
            self._told = (uses, merged)
        with super().on(uses, merged=merged):
            yield


def _become(shared: nn.Module, own: nn.Module) -> None:
    """The same modules and parameters, not copies of them."""
    shared.__dict__.update(vars(own))
