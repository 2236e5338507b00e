"""What one step of the transformer is shown: latents and noise, a caption drawn anew, perhaps a frame to start from.

Shapes: B batch, F latent frames, C channels, H W latent cells, L text tokens.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from piying.config import ModelConfig
from piying.models.text import Tokenizer
from piying.parallel import ranks
from piying.sampling.schedule import alphas
from piying.theatre.captions import caption
from piying.theatre.scene import Scene
from piying.train.given import condition, fill_patch
from piying.train.loss import draw_timesteps
from piying.train.nano.ahead import ahead, send, tokenizer_of
from piying.train.nano.latents import Latents
from piying.train.nano.recipe import Recipe, locate, total
from piying.train.nano.text import LANGUAGES
from piying.train.seeds import draw_at, noise_at, rank_key


class Batch(NamedTuple):
    """Everything that is drawn for a step, so that the loss draws nothing."""

    x0: Tensor  # [B F C H W]
    noise: Tensor
    condition: Tensor  # the same shape; zeros where nothing is given
    tokens: Tensor  # [B L]
    timesteps: Tensor  # [B]


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
        )
