"""The autoencoder's chunks on several ranks, each a layer behind the rank that has the chunk before.

Of the chunk before, a chunk needs the last two frames that each causal convolution saw, and nothing else: group norms
take their statistics over a chunk. So chunk k runs whole on rank k mod n, and what a convolution saw is handed on as
soon as the rank has gone beyond it. The result is that of one rank, bit by bit.

Shapes: B batch, C channels, F frames, H W rows and columns.
"""

from collections.abc import Callable, Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn

from piying.models.vae_parts import CausalConv, Decoder, Encoder, Past
from piying.parallel import ranks

Shape = tuple[int, ...]
Sending = list[tuple[dist.Work, Tensor]]


def relay(
    chunks: list[Tensor],
    work: Callable[[Tensor, Past], Tensor],
    layers: Mapping[nn.Module, Shape],
    results: list[Shape],
    *,
    past: Past | None,
    keep: bool,
) -> Tensor:
    """What `work` makes of all chunks, put together along the frames, on all ranks; called on all of them.

    `work` is given a chunk and its past. `layers` are the convolutions that use it, in the order in which they run,
    with the shapes [B C 2 H W] of what they leave; `results` the shapes of what comes out. Where `keep`, the past of
    the last chunk is put into `past` on rank 0, which may hold what comes before the first.
    """
    rank, count, last = ranks.rank(), ranks.count(), len(chunks) - 1
    made: dict[int, Tensor] = {}
    sending: Sending = []
    leg = None
    for place in range(rank, len(chunks), count):
        _wait(sending)  # for those of this rank's last chunk, whose memory is free then
        before = (place - 1) % count if place else None
        after = (place + 1) % count if place < last else 0 if keep and rank else None
        leg = Leg(layers, chunks[place], before, after, sending)
        if place == 0 and past:
            leg.update(past)
        made[place] = work(chunks[place], leg).contiguous()
        leg.finish()
    if keep and past is not None and leg is not None:  # on rank 0
        past.update(leg if last % count == 0 else Leg(layers, chunks[last], last % count, None, sending).all())
    _wait(sending)
    whole = [made.get(place, chunks[0].new_empty(shape)) for place, shape in enumerate(results)]
    for place, result in enumerate(whole):
        dist.broadcast(result, place % count)
    return torch.cat(whole, dim=2)


class Leg(dict[nn.Module, Tensor]):
    """The past of one chunk. Where a convolution looks for it, it comes from the chunk before; what the convolution
    leaves goes on to the next chunk when a later one looks.

    From the last rank to the first all goes at once when the chunk is done, and is asked for at once: the first one is
    then about to begin, and neither has to wait in the middle of its work. That keeps sends and receipts of any two
    ranks in one order, too.
    """

    def __init__(
        self, layers: Mapping[nn.Module, Shape], like: Tensor, before: int | None, after: int | None, sending: Sending
    ) -> None:
        super().__init__()
        self._layers, self._like, self._before, self._after, self._sending = layers, like, before, after, sending
        self._unsent: list[nn.Module] = []
        self._coming: dict[nn.Module, tuple[dist.Work, Tensor]] = {}
        self._wanted = set(layers) if before is not None else set()
        if before is not None and before > ranks.rank():
            for layer in layers:
                self._ask(layer)

    def __contains__(self, layer: object) -> bool:
        if self._after is not None and self._after > ranks.rank():
            self._send()
        return super().__contains__(layer) or layer in self._wanted

    def __getitem__(self, layer: nn.Module) -> Tensor:
        if layer in self._wanted:
            if layer not in self._coming:
                self._ask(layer)
            work, come = self._coming.pop(layer)
            work.wait()
            self._wanted.remove(layer)
            super().__setitem__(layer, come.permute(0, 4, 1, 2, 3))
        return super().__getitem__(layer)

    def __setitem__(self, layer: nn.Module, seen: Tensor) -> None:
        super().__setitem__(layer, seen)
        self._unsent.append(layer)

    def all(self) -> Past:
        """Everything that comes."""
        return {layer: self[layer] for layer in self._layers}

    def finish(self) -> None:
        """The chunk is done."""
        if self._after is not None:
            self._send()

    def _ask(self, layer: nn.Module) -> None:
        batch, channels, frames, height, width = self._layers[layer]
        room = self._like.new_empty(batch, frames, height, width, channels)  # as convolutions on a GPU have it
        work = dist.irecv(room, self._before)
        assert work is not None
        self._coming[layer] = work, room

    def _send(self) -> None:
        for layer in self._unsent:
            seen = super().__getitem__(layer).to(self._like.device).permute(0, 2, 3, 4, 1).contiguous()
            work = dist.isend(seen, self._after)
            assert work is not None
            self._sending.append((work, seen))
        self._unsent.clear()


def _wait(sending: Sending) -> None:
    for work, _ in sending:
        work.wait()
    sending.clear()


def decoder_layers(decoder: Decoder, latents: Tensor) -> dict[nn.Module, Shape]:
    """The causal convolutions in their order, with the shapes of what each remembers of latents [B C f h w]."""
    levels = [(block, level) for level, block in enumerate(decoder.up_blocks)]
    parts = [(decoder.conv_in, 0), (decoder.mid_block, 0), *levels, (decoder.conv_out, levels[-1][1])]
    batch, _, _, height, width = latents.shape
    return {
        conv: (batch, conv.conv.in_channels, 2, height << level, width << level)
        for part, level in parts
        for conv in _causal(part)
    }


def encoder_layers(encoder: Encoder, pixels: Tensor) -> dict[nn.Module, Shape]:
    """The same for pixels [B 3 F H W]."""
    levels = [(block, level) for level, block in enumerate(encoder.down_blocks)]
    last = levels[-1][1]
    parts = [(encoder.conv_in, 0), *levels, (encoder.mid_block, last), (encoder.conv_out, last)]
    batch, _, _, height, width = pixels.shape
    return {
        conv: (batch, conv.conv.in_channels, 2, height >> level, width >> level)
        for part, level in parts
        for conv in _causal(part)
    }


def _causal(part: nn.Module) -> list[CausalConv]:
    return [module for module in part.modules() if isinstance(module, CausalConv)]
