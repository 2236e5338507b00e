"""What each rank does for one video: it has the whole model and works out its part of every result.

Every method is called on all ranks with the same arguments and returns the whole result on each.

Shapes: B rows, F latent frames, C channels, h w latent cells, L text tokens, D width.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from math import gcd

import torch.distributed as dist
from torch import Tensor

from piying.adapters.rack import Rack, Use
from piying.adapters.store import Found
from piying.models.transformer import Modulations, Transformer
from piying.parallel import ranks
from piying.parallel.parts import Group, even, gather
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

    def predict(self, x: Tensor, text: Tensor, blocks: Tensor, out: Tensor) -> Tensor:
        """v [B F C_out h w] from latents [B F C h w], embedded text [B L D] and modulations, those of the blocks as
        [2 layers B 2 3 D].

        Rows go to ranks first: the guided pair runs on two without a word between them. Where there are more ranks,
        those of a row share its sequence.
        """
        lanes = gcd(len(x), self.count)
        width = self.count // lanes
        lane = self.rank // width
        x, text, out = (tensor.chunk(lanes)[lane] for tensor in (x, text, out))
        flat = blocks.chunk(lanes, dim=1)[lane].unbind()
        with sharing(self.checkpoint.transformer, self.shares[width]):
            modulations = Modulations(list(zip(flat[::2], flat[1::2], strict=True)), out)
            v = Transformer.predict(self.checkpoint.transformer, x, text, modulations)
        return gather(v, [len(v)] * self.count, 0).unflatten(0, (lanes, width, -1))[:, 0].flatten(0, 1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """T5 states [B L D] of tokens [B L]: some rows on each rank."""
        sizes, encoder = even(len(tokens), self.count), self.checkpoint.text
        mine = tokens.split(sizes)[self.rank]
        states = encoder(mine) if len(mine) else encoder.norm.weight.new_empty(*mine.shape, encoder.config.width)
        return gather(states, sizes, 0)

    def take(self, found: Found) -> None:
        """Reads an adapter."""
        self._rack.take(found)

    def put_on(self, uses: Sequence[Use], merged: bool) -> None:
        """Exactly these adapters are on from now on."""
        self._adapters_on.close()
        self._adapters_on.enter_context(self._rack.on(uses, merged=merged))
