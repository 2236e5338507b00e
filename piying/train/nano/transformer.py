"""Stage three: the transformer, on latents that were made once. The text encoder has learned already, and stays."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from piying.config import ModelConfig
from piying.generate import Model
from piying.models.text import TextEncoder
from piying.models.transformer import Transformer
from piying.parallel import ranks
from piying.request import Request
from piying.sampling.schedule import add_noise, alphas, velocity
from piying.theatre.captions import caption
from piying.theatre.scene import Scene
from piying.theatre.sheet import contact_sheet
from piying.train.given import fill_patch
from piying.train.levels import held_out_timesteps
from piying.train.loop import Facts
from piying.train.loss import velocity_error
from piying.train.nano.batch import Batch, Batches
from piying.train.nano.latents import Latents, Order
from piying.train.nano.recipe import Recipe, largest, locate, total
from piying.train.nano.text import LANGUAGES
from piying.train.seeds import draw_at, training_scene, validation_scene
from piying.train.stage import Run, Stage, finished, perform
from piying.weights import Checkpoint

NAME = "transformer"
SHOWN = 6  # captions on a sheet


def training_scenes(recipe: Recipe) -> list[Scene]:
    """What this rank's clips of all phases show; each phase begins with the first."""
    most = max(phase.pool for phase in recipe.transformer.phases)
    return [training_scene(recipe.seed, i) for i in range(ranks.rank(), most, ranks.count())]


def train_transformer(run: Run[Recipe], start: Checkpoint) -> Transformer | None:
    """The transformer, trained; None where the clock ended the run before. `start` knows the latent scale."""
    recipe, part = run.recipe, run.recipe.transformer
    config, vae, tokenizer = start.config, start.vae, start.tokenizer
    steps = total(part.phases)
    model, text = start.transformer.requires_grad_(True), start.text.to(run.device).eval()
    if trained := finished(NAME, model, steps, run):
        return trained
    shown, scenes = [validation_scene(i) for i in range(recipe.validation)], training_scenes(recipe)

    def latents(name: str, scenes: list[Scene], size: tuple[int, int], beside: bool) -> Latents:
        folder = run.out / "latents" / (name if ranks.count() == 1 else f"{name}-{ranks.rank()}-of-{ranks.count()}")
        order = Order(scenes, size, config.frames, vae, config.vae.latent_scale, folder)
        return Latents(order, run.device, beside=beside)

    pools = {
        size: latents(f"{size[0]}x{size[1]}", scenes[: ranks.share(count)], size, run.device.type == "cuda")
        for size, count in largest(part.phases).items()
    }
    kept = latents("held-out", shown, config.size, False)
    first = {phase.size: ranks.share(phase.there(0)) for phase in reversed(part.phases)}
    for pool, count in ((kept, len(shown)), *((pools[size], count) for size, count in first.items())):
        if not pool.grow(count, run.clock, run.listen):
            return None
    alpha = alphas(config.schedule).to(run.device)
    texts = [caption(scene, LANGUAGES[i % 2], draw_at("held-out caption", i)).text for i, scene in enumerate(shown)]
    held_out = hold_out(kept.clips, tokenizer(texts, config.transformer.text_tokens), config, alpha)

    def picture(transformer: Transformer, path: Path) -> None:
        draw_sheet(Model(replace(start, transformer=transformer), config.name), texts[:SHOWN], path)

    stage = Stage(
        NAME,
        model,
        part.optimizer,
        steps,
        Batches(recipe, config, tokenizer, pools, scenes),
        lambda step: part.phases[locate(part.phases, step)[0]].batch,
        lambda model, batch: predict(model, text, batch, alpha),
        lambda model: measure_levels(model, text, held_out, alpha),
        picture,
        lambda: model.transformer_blocks,
    )
    return perform(stage, run)


def predict(model: nn.Module, text: TextEncoder, batch: Batch, alpha: Tensor) -> tuple[Tensor, Facts]:
    """The loss of a batch; alpha [timesteps] of the schedule."""
    level = alpha[batch.timesteps]
    share = level.float()[:, None, None, None, None]
    x = torch.cat([add_noise(batch.x0, batch.noise, share), batch.condition], dim=2)
    with torch.no_grad():
        states = text(batch.tokens)
    v = model(x, states, batch.timesteps)
    return velocity_error(v, velocity(batch.x0, batch.noise, share), level.logit())


def hold_out(clips: Tensor, tokens: Tensor, config: ModelConfig, alpha: Tensor) -> dict[str, list[Batch]]:
    """The same clips [N f C h w], captions and noise at each held-out level and at the last timestep, all noise."""
    x0 = fill_patch(clips.float(), config.transformer.patch[0])
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0)).to(x0)
    tokens, nothing = tokens.to(x0.device), torch.zeros_like(x0)
    pieces = [slice(start, start + 8) for start in range(0, len(x0), 8)]
    return {
        name: [
            Batch(x0[i], noise[i], nothing[i], tokens[i], torch.full((len(x0[i]),), place, device=x0.device))
            for i in pieces
        ]
        for name, place in held_out_timesteps(alpha.logit()).items()
    }


@torch.no_grad()
def measure_levels(
    model: Transformer, text: TextEncoder, held_out: dict[str, list[Batch]], alpha: Tensor
) -> dict[str, float]:
    """The mean error of v at each level."""
    return {
        name: torch.cat([predict(model, text, batch, alpha)[1]["v"] for batch in batches]).mean().item()
        for name, batches in held_out.items()
    }


def draw_sheet(model: Model, texts: list[str], path: Path) -> None:
    """A video of each text."""
    videos = model.make(*(Request(prompt=text, seed=i) for i, text in enumerate(texts)))
    contact_sheet([video.frames for video in videos], texts).save(path)
