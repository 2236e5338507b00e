"""One sequence on several ranks (DeepSpeed-Ulysses, arXiv:2309.14509).

Outside attention a rank holds a stretch of the tokens with all their heads, inside it all tokens with some of the
heads. Neither needs to divide: stretches and heads differ by one at most.

Shapes: B batch, N tokens of the whole sequence, n those of a rank, H heads, h those of a rank, D width of a head.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from piying import ops
from piying.models.transformer import Attention, Transformer
from piying.parallel.parts import Group, even, gather

ROUNDS = 2  # in how many goes heads are exchanged and attended: while some are computed, the next are on their way


class OnItsWay(NamedTuple):
    """A tensor that other ranks are filling."""

    x: Tensor  # flat
    work: dist.Work

    def arrived(self) -> Tensor:
        self.work.wait()
        return self.x


class Share:
    """What a rank of a group holds of the sequence."""

    def __init__(self, group: Group = None) -> None:
        self.group = group
        self.place, self.count = dist.get_rank(group), dist.get_world_size(group)
        self.tokens: list[int] = []  # of each rank, text and video
        self.video: list[int] = []

    def take(
        self, parts: list[Tensor], turns: Tensor | None, text_tokens: int
    ) -> tuple[list[Tensor], Tensor | None, int]:
        """Parts of a batch [b N D] with the text first, turns [N ..] -> the same of this rank, and how many of its
        tokens are text."""
        self.tokens = even(parts[0].shape[1], self.count)
        starts = list(accumulate(self.tokens, initial=0))
        text = [min(max(text_tokens - start, 0), size) for start, size in zip(starts, self.tokens, strict=False)]
        self.video = [size - read for size, read in zip(self.tokens, text, strict=True)]
        mine = slice(starts[self.place], starts[self.place + 1])
        return [part[:, mine].contiguous() for part in parts], None if turns is None else turns[mine], text[self.place]

    def give(self, x: Tensor) -> Tensor:
        """Video tokens of this rank [B t D] -> of all ranks [B T D]."""
        return gather(x, self.video, 1, self.group)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Full attention. q, k, v of this rank's tokens [B n H D] -> the same shape."""
        result = torch.empty_like(v, memory_format=torch.contiguous_format)
        rounds = _rounds(q.shape[2], self.count)
        asked = [self._to_heads((q, k, v), heads) for heads in rounds]
        told = []
        for heads, moving in zip(rounds, asked, strict=True):
            whole = moving.arrived().view(sum(self.tokens), 3, len(q), _width(heads[self.place]), q.shape[3])
            whole_q, whole_k, whole_v = (x.transpose(0, 1) for x in whole.unbind(1))  # each [B N h D]
            attended = ops.attention(whole_q, whole_k, whole_v) if whole.numel() else whole_v
            told.append(self._to_tokens(attended, heads))
        for heads, moving in zip(rounds, told, strict=True):
            sizes = [q.shape[1] * len(q) * _width(part) * q.shape[3] for part in heads]
            for part, piece in zip(heads, moving.arrived().split(sizes), strict=True):
                result[:, :, part] = piece.view(q.shape[1], len(q), _width(part), q.shape[3]).transpose(0, 1)
        return result

    def _to_heads(self, xs: tuple[Tensor, ...], heads: list[slice]) -> OnItsWay:
        """For each rank its heads of our tokens; what comes are our heads of all tokens, [N 3 B h D] once whole."""
        batch, tokens, _, width = xs[0].shape
        going = [tokens * len(xs) * batch * _width(part) * width for part in heads]
        sent = xs[0].new_empty(sum(going))
        for part, room in zip(heads, sent.split(going), strict=True):
            room = room.view(tokens, len(xs), batch, _width(part), width)
            for place, x in enumerate(xs):
                room[:, place] = x[:, :, part].transpose(0, 1)
        each = len(xs) * batch * _width(heads[self.place]) * width
        return self._exchange(sent, going, [size * each for size in self.tokens])

    def _to_tokens(self, x: Tensor, heads: list[slice]) -> OnItsWay:
        """For each rank its tokens [B N h D]; what comes are our tokens, from each rank [n B h D]."""
        batch, _, own, width = x.shape
        sent = x.transpose(0, 1).contiguous().flatten()
        coming = [self.tokens[self.place] * batch * _width(part) * width for part in heads]
        return self._exchange(sent, [size * batch * own * width for size in self.tokens], coming)

    def _exchange(self, sent: Tensor, going: list[int], coming: list[int]) -> OnItsWay:
        received = sent.new_empty(sum(coming))
        work = dist.all_to_all_single(received, sent, coming, going, self.group, async_op=True)
        assert work is not None  # this rank is in the group
        return OnItsWay(received, work)


@contextmanager
def sharing(transformer: Transformer, share: Share | None) -> Iterator[None]:
    """Inside, the transformer runs this share of its sequence; None is all of it."""
    attentions = [module for module in transformer.modules() if isinstance(module, Attention)]
    if share:
        transformer.share = share
        for attention in attentions:
            attention.attend = share.attend
    try:
        yield
    finally:
        if share:
            del transformer.share
            for attention in attentions:
                del attention.attend


def _rounds(heads: int, count: int) -> list[list[slice]]:
    """The heads of each rank in each round; ranks differ by one head at most, and so do a rank's rounds."""
    shares = even(heads, count)
    rounds = min(ROUNDS, shares[0])
    edges = [0, *accumulate(part for share in shares for part in even(share, rounds))]
    parts = [slice(*ends) for ends in pairwise(edges)]
    return [parts[place::rounds] for place in range(rounds)]


def _width(part: slice) -> int:
    return part.stop - part.start
