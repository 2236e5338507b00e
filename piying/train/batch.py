"""What one step of the transformer is shown: latents and noise, a caption drawn anew, perhaps a frame to start from.

Shapes: B batch, F latent frames, C channels, H W latent cells, L text tokens.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from piying.config import ModelConfig
from piying.models.text import Tokenizer
from piying.parallel import ranks
from piying.sampling.schedule import alphas
from piying.theatre.captions import caption
from piying.theatre.scene import Scene
from piying.train.ahead import ahead, send, tokenizer_of
from piying.train.loss import draw_timesteps
from piying.train.pool import Latents
from piying.train.recipe import Recipe
from piying.train.seeds import draw_at, noise_at, rank_key
from piying.train.stage import locate, total
from piying.train.text import LANGUAGES


class Given(Protocol):
    """How many clips of a batch get what, as shares."""

    @property
    def first_frame(self) -> float: ...

    @property
    def first_and_last(self) -> float: ...

    @property
    def continuation(self) -> float: ...


class Batch(NamedTuple):
    """Everything that is drawn for a step, so that the loss draws nothing."""

    x0: Tensor  # [B F C H W]
    noise: Tensor
    condition: Tensor  # the same shape; zeros where nothing is given
    tokens: Tensor  # [B L]
    timesteps: Tensor  # [B]
    tune_text: bool


@dataclass(frozen=True)
class Words:
    """Step -> which clips it shows and what is said of each: the part that wants a CPU and none of the latents."""

    recipe: Recipe
    vocabulary: str  # the content of a tokenizer.json
    tokens: int  # of a text
    scenes: list[Scene]  # of the clips of all pools: each begins with the first
    rank: tuple[int, ...]
    ranks: int

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the pool [B] and tokens [B L]."""
        part = self.recipe.transformer
        index, within = locate(part.phases, step)
        phase = part.phases[index]
        rng = draw_at(self.recipe.seed, "batch", step, *self.rank)
        chosen = rng.choices(
            range(ranks.share(phase.there(within), self.ranks)), k=ranks.share(phase.batch, self.ranks)
        )
        texts = [
            "" if rng.random() < part.drop else caption(self.scenes[i], rng.choice(LANGUAGES), rng).text for i in chosen
        ]
        return np.array(chosen), tokenizer_of(self.vocabulary)(texts, self.tokens).numpy()


class Batches:
    """Step -> batch."""

    def __init__(
        self,
        recipe: Recipe,
        config: ModelConfig,
        tokenizer: Tokenizer,
        pools: dict[tuple[int, int], Latents],  # one a size of canvas
        scenes: list[Scene],
    ) -> None:
        self.recipe, self.config, self.pools = recipe, config, pools
        vocabulary = tokenizer.files["tokenizer.json"].decode()
        words = Words(recipe, vocabulary, config.transformer.text_tokens, scenes, rank_key(), ranks.count())
        device = next(iter(pools.values())).clips.device
        self.words = ahead(words, total(recipe.transformer.phases), device)
        self.log_snrs = alphas(config.schedule).logit().to(device)

    def __call__(self, step: int) -> Batch:
        part = self.recipe.transformer
        index, within = locate(part.phases, step)
        phase = part.phases[index]
        pool = self.pools[phase.size]
        device = pool.clips.device
        pool.grow(ranks.share(phase.there(within)))
        chosen, tokens = send(self.words(step), device)
        generator = noise_at(self.recipe.seed, "batch", step, *rank_key(), device=device)
        length = (phase.frames - 1) // 4 + 1
        x0 = fill_patch(pool.clips[chosen, :length].float(), self.config.transformer.patch[0])
        images = pool.images[chosen].float()
        if length < pool.clips.shape[1]:
            images[:, 1] = 0  # the last frame is not in this window
        return Batch(
            x0,
            torch.randn(x0.shape, generator=generator, device=device),
            condition(x0, images, part, generator),
            tokens,
            draw_timesteps(self.log_snrs, len(x0), *part.log_snr, part.uniform, generator),
            step < part.tune_text * total(part.phases),
        )


def fill_patch(x0: Tensor, frames: int) -> Tensor:
    """Repeats the first latent frame of x0 [B F C H W] until a patch's frames divide F; dropped again in the end."""
    return torch.cat([x0[:, :1]] * (-x0.shape[1] % frames) + [x0], dim=1)


def condition(x0: Tensor, images: Tensor, recipe: Given, generator: torch.Generator) -> Tensor:
    """For each clip x0 [B F C H W] nothing, its first image, its first and last image, or its own beginning.

    images [B 2 C H W] are latents of the first and the last frame, each encoded alone, as they will be given.
    """
    frames, device = x0.shape[1], x0.device
    drawn = torch.rand(2, len(x0), generator=generator, device=device)
    length = 1 + (drawn[1] * max(frames - 1, 1)).long()  # of a beginning, never the whole clip where it has more
    begun = drawn[0] < recipe.continuation
    ended = drawn[0] < recipe.continuation + recipe.first_and_last
    opened = drawn[0] < recipe.continuation + recipe.first_and_last + recipe.first_frame
    known = begun[:, None] & (torch.arange(frames, device=device) < length[:, None])
    given = torch.where(known[:, :, None, None, None], x0, 0)
    given[:, 0] = torch.where((opened & ~begun)[:, None, None, None], images[:, 0], given[:, 0])
    given[:, -1] = torch.where((ended & ~begun)[:, None, None, None], images[:, 1], given[:, -1])
    return given
