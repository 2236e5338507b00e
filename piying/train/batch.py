"""What one step of the transformer is shown: latents and noise, a caption drawn anew, perhaps a frame to start from.

Shapes: B batch, F latent frames, C channels, H W latent cells, L text tokens.
"""

import random
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from piying.config import ModelConfig
from piying.models.text import Tokenizer
from piying.sampling.schedule import alphas
from piying.theatre.captions import caption
from piying.theatre.scene import Scene
from piying.train.loss import draw_timesteps
from piying.train.pool import Latents
from piying.train.recipe import Recipe, TransformerRecipe
from piying.train.seeds import draw_at, noise_at
from piying.train.stage import locate, total
from piying.train.text import LANGUAGES


class Batch(NamedTuple):
    """Everything that is drawn for a step, so that the loss draws nothing."""

    x0: Tensor  # [B F C H W]
    noise: Tensor
    condition: Tensor  # the same shape; zeros where nothing is given
    tokens: Tensor  # [B L]
    timesteps: Tensor  # [B]
    tune_text: bool


@dataclass(frozen=True)
class Batches:
    """Step -> batch."""

    recipe: Recipe
    config: ModelConfig
    tokenizer: Tokenizer
    pools: list[Latents]  # one a phase
    scenes: list[Scene]  # of the clips of all pools: each begins with the first

    def __call__(self, step: int) -> Batch:
        seed, part = self.recipe.seed, self.recipe.transformer
        index, within = locate(part.phases, step)
        phase, pool = part.phases[index], self.pools[index]
        count, there, device = phase.batch, phase.there(within), pool.clips.device
        pool.grow(there)
        rng, generator = draw_at(seed, "batch", step), noise_at(seed, "batch", step, device=device)
        chosen = rng.choices(range(there), k=count)
        x0 = fill_patch(pool.clips[chosen].float(), self.config.transformer.patch[0])
        texts = [
            "" if rng.random() < part.drop else caption(self.scenes[i], rng.choice(LANGUAGES), rng).text for i in chosen
        ]
        log_snrs = alphas(self.config.schedule).logit().to(device)
        return Batch(
            x0,
            torch.randn(x0.shape, generator=generator, device=device),
            condition(x0, pool.images[chosen].float(), part, rng),
            self.tokenizer(texts, self.config.transformer.text_tokens).to(device),
            draw_timesteps(log_snrs, count, *part.log_snr, part.uniform, generator),
            step < part.tune_text * total(part.phases),
        )


def fill_patch(x0: Tensor, frames: int) -> Tensor:
    """Repeats the first latent frame of x0 [B F C H W] until a patch's frames divide F; dropped again in the end."""
    return torch.cat([x0[:, :1]] * (-x0.shape[1] % frames) + [x0], dim=1)


def condition(x0: Tensor, images: Tensor, recipe: TransformerRecipe, rng: random.Random) -> Tensor:
    """For each clip x0 [B F C H W] nothing, its first image, its first and last image, or its own beginning.

    images [B 2 C H W] are latents of the first and the last frame, each encoded alone, as they will be given.
    """
    given = torch.zeros_like(x0)
    for row, clip, (first_image, last_image) in zip(given, x0, images, strict=True):
        share = rng.random()
        if share < recipe.continuation:
            length = rng.randrange(1, len(clip)) if len(clip) > 1 else 1
            row[:length] = clip[:length]
        elif share < recipe.continuation + recipe.first_frame + recipe.first_and_last:
            row[0] = first_image
            if share >= recipe.continuation + recipe.first_frame:
                row[-1] = last_image
    return given
