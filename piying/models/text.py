"""The T5 v1.1 encoder (arXiv:1910.10683, gated GELU of arXiv:2002.05202) and its tokenizer.

Shapes: B batch, L tokens, D width, H heads. Padding is not masked: the family was trained so.
"""

import json
import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piying import ops
from piying.config import TextConfig
from piying.errors import ModelMissing, PiyingError
from piying.models.linear import Linear

PAD, END = 0, 1
OVERFLOWS = "ff.out.weight"  # parameters that end so are kept in float32 where the others are in float16


class TextEncoder(nn.Module):
    """Token numbers -> one state for each token.

    `flow` may give the blocks in order from wherever they are kept, each ready until the next is asked for. The
    embedding may lie elsewhere than the rest.
    """

    flow: "Callable[[], AbstractContextManager[Iterable[Block]]] | None" = None

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = _table(config.vocabulary, config.width)
        self.distances = _table(config.buckets, config.heads)  # the bias of each distance for each head
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RootMeanSquareNorm(config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens [B L] -> states [B L D]."""
        bias = self._bias(tokens.shape[1])
        x = self.embedding(tokens.to(self.embedding.weight.device)).to(tokens.device)
        own = cast(Iterable[Block], self.blocks)
        with self.flow() if self.flow else nullcontext(own) as blocks:
            for block in blocks:
                x = block(x, bias)
        return self.norm(x)

    def _bias(self, length: int) -> Tensor:
        """What is added to the logits of every block for the distance between two tokens [1 H L L]."""
        place = torch.arange(length, device=self.distances.weight.device)
        buckets = bucket(place[None] - place[:, None], self.config.buckets, self.config.max_distance)
        return self.distances(buckets).permute(2, 0, 1)[None]


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm and added to what came in."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.norm1 = RootMeanSquareNorm(config.width)
        self.attention = Attention(config)
        self.norm2 = RootMeanSquareNorm(config.width)
        self.ff = FeedForward(config)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), bias)
        return x + self.ff(self.norm2(x))


class RootMeanSquareNorm(nn.Module):
    """Scales to a mean square of one in float32 (arXiv:1910.07467); returns the type of its weight."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], eps=1e-6).to(self.weight.dtype) * self.weight


class Attention(nn.Module):
    """Self-attention whose logits are not scaled and take a bias for distance."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        inner = config.heads * config.head_width
        self.q = Linear(config.width, inner, bias=False)
        self.k = Linear(config.width, inner, bias=False)
        self.v = Linear(config.width, inner, bias=False)
        self.out = Linear(inner, config.width, bias=False)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (to(x).unflatten(-1, (self.heads, -1)) for to in (self.q, self.k, self.v))  # [B L H D]
        return self.out(ops.attention(q, k, v, bias=bias, scale=1.0).flatten(2))


class FeedForward(nn.Module):
    """GELU (tanh form) of one projection times another, projected back."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate = Linear(config.width, config.ff_width, bias=False)
        self.value = Linear(config.width, config.ff_width, bias=False)
        self.out = Linear(config.ff_width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.gate(x), approximate="tanh") * self.value(x)
        return self.out(x.to(self.out.dtype))  # float16 overflows here: `out` then stays in float32


def _table(rows: int, width: int) -> nn.Embedding:
    """Zeros: a random start on the meta device imports torch's compiler, which takes seconds."""
    return nn.Embedding(rows, width, _weight=torch.zeros(rows, width))


def bucket(distance: Tensor, buckets: int, max_distance: int) -> Tensor:
    """The bucket of a signed distance in tokens (arXiv:1910.10683, section 2.1).

    Half of the buckets for each direction; of these half for single distances and half for logarithmic ranges up to
    max_distance, beyond which all share the last.
    """
    half = buckets // 2
    single = half // 2
    reach = distance.abs()
    ranges = torch.log(reach.float().clamp(min=1) / single) / math.log(max_distance / single) * (half - single)
    near = torch.where(reach < single, reach, (single + ranges.long()).clamp(max=half - 1))
    return near + half * (distance > 0)


class Tokenizer:
    """Text -> numbers of a T5 vocabulary.

    `encode` gives the numbers of one text without an end mark; `files` are what a folder needs to hold, by name.
    """

    def __init__(self, encode: Callable[[str], list[int]], files: dict[str, bytes]) -> None:
        self.encode = encode
        self.files = files

    def __call__(self, texts: list[str], length: int) -> Tensor:
        """texts -> numbers [B length], each text cut to length - 1, closed by an end mark and padded."""
        rows = [[*self.encode(text)[: length - 1], END] for text in texts]
        return torch.tensor([row + [PAD] * (length - len(row)) for row in rows], dtype=torch.long)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """From the content of a tokenizer.json, the format of the `tokenizers` library."""
        from tokenizers import Tokenizer as Pieces

        pieces = Pieces.from_str(text)
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>"}
        files = {"tokenizer.json": text.encode(), "tokenizer_config.json": json.dumps(config, indent=2).encode()}
        return cls(lambda line: pieces.encode(line, add_special_tokens=False).ids, files)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From a folder that holds tokenizer.json or spiece.model.

        Raises ModelMissing where it holds neither, PiyingError where the file cannot be read.
        """
        json_file, pieces_file = folder / "tokenizer.json", folder / "spiece.model"
        path = json_file if json_file.is_file() else pieces_file
        if not path.is_file():
            raise ModelMissing(f"{folder}: no tokenizer.json and no spiece.model there")
        try:
            tokenizer = cls.from_json(path.read_text("utf-8")) if path == json_file else cls._from_pieces(path)
        except Exception as error:  # both libraries raise plain Exception or RuntimeError
            raise PiyingError(f"{path}: not a tokenizer ({str(error).splitlines()[0]}); fetch it again") from error
        for extra in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
            if (folder / extra).is_file():
                tokenizer.files[extra] = (folder / extra).read_bytes()
        return tokenizer

    @classmethod
    def _from_pieces(cls, path: Path) -> Self:
        from sentencepiece import SentencePieceProcessor

        content = path.read_bytes()
        return cls(SentencePieceProcessor(model_proto=content).encode, {"spiece.model": content})
