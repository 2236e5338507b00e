"""Stage one: the autoencoder, on windows of rendered clips."""

import json
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from piying.data.dataset import write_whole
from piying.models.vae import VAE, to_frames, to_pixels
from piying.parallel import ranks
from piying.theatre.sheet import contact_sheet
from piying.train.loop import Facts
from piying.train.loss import psnr, reconstruction_error
from piying.train.nano.frames import Frames, draw_all
from piying.train.nano.recipe import Phase, Recipe, VAERecipe, largest, locate, total
from piying.train.seeds import draw_at, noise_at, rank_key, training_scene, validation_scene
from piying.train.stage import Run, Stage, finished, perform

NAME = "vae"
SHOWN = 4  # clips on a sheet


class Autoencoder(nn.Module):
    """Pixels -> pixels through a drawn latent, for the loop."""

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pixels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """pixels [B 3 F H W], noise [B C f h w] -> reconstruction, mean, logvar."""
        mean, logvar = self.vae.encode(pixels)
        return self.vae.decode(mean + noise * (0.5 * logvar).exp()), mean, logvar


class Windows(NamedTuple):
    """A batch."""

    pixels: Tensor  # [B 3 F H W]
    noise: Tensor  # [B C f h w]


def train_vae(run: Run[Recipe], vae: VAE, scale: float) -> tuple[VAE, float] | None:
    """The autoencoder, trained, and what brings its latents to unit variance: `scale` if the encoder stays.

    None where the clock ended the run before.
    """
    recipe, steps = run.recipe, total(run.recipe.vae.phases)
    vae.requires_grad_(True).encoder.requires_grad_(recipe.vae.encoder)
    model = Autoencoder(vae)
    kept = run.out / NAME / "latent_scale.json"
    trained = finished(NAME, model, steps, run)
    if trained is None or not kept.is_file():
        held_out = draw_all([validation_scene(i) for i in range(recipe.validation)], recipe.model.size, run.device)
        trained = trained or perform(_stage(model, held_out, steps, run), run)
        if trained is None:
            return None
        value = measure_scale(trained.vae, held_out) if recipe.vae.encoder else scale
        if ranks.rank() == 0:
            write_whole(kept, json.dumps(value))
        ranks.wait()
    return trained.vae, json.loads(kept.read_text())


def _stage(model: Autoencoder, held_out: Tensor, steps: int, run: Run[Recipe]) -> Stage[Autoencoder]:
    recipe, part = run.recipe, run.recipe.vae
    channels = recipe.model.vae.latent_channels

    @lru_cache(maxsize=1)
    def pool(size: tuple[int, int]) -> Frames:
        """One for all phases of a size; each begins with the first clip."""
        mine = range(ranks.rank(), largest(part.phases)[size], ranks.count())
        return Frames([training_scene(recipe.seed, i) for i in mine], size, run.device)

    def batches(step: int) -> Windows:
        index, within = locate(part.phases, step)
        phase = part.phases[index]
        return draw_windows(
            pool(phase.size).first(ranks.share(phase.there(within))), phase, channels, recipe.seed, step
        )

    return Stage(
        NAME,
        model,
        part.optimizer,
        steps,
        batches,
        lambda step: part.phases[locate(part.phases, step)[0]].batch,
        lambda model, batch: reconstruct(model, batch, part),
        lambda model: measure_psnr(model.vae, held_out),
        lambda model, path: draw_sheet(model.vae, held_out[:SHOWN], path),
        lambda: [model],
    )


def draw_windows(clips: Tensor, phase: Phase, channels: int, seed: int, step: int) -> Windows:
    """This rank's windows of `phase.frames` frames and `phase.crop` pixels at random places of clips [N F H W 3]."""
    key: tuple[str | int, ...] = (seed, NAME, step, *rank_key())
    count = ranks.share(phase.batch)
    rng = draw_at(*key)
    length, (height, width) = phase.frames, phase.crop or phase.size
    windows = []
    for _ in range(count):
        clip = clips[rng.randrange(len(clips))]
        start, top, left = (
            rng.randrange(whole - part + 1) for whole, part in zip(clip.shape, (length, height, width), strict=False)
        )
        windows.append(clip[start : start + length, top : top + height, left : left + width])
    shape = (count, channels, (length - 1) // 4 + 1, height // 8, width // 8)
    generator = noise_at(*key, device=clips.device)
    return Windows(to_pixels(torch.stack(windows)), torch.randn(shape, generator=generator, device=clips.device))


def reconstruct(model: nn.Module, batch: Windows, recipe: VAERecipe) -> tuple[Tensor, Facts]:
    """The loss of a batch."""
    pixels, mean, logvar = model(batch.pixels, batch.noise)
    weights = {"pyramid": recipe.pyramid, "motion": recipe.motion, "kl": recipe.kl}
    return reconstruction_error(pixels, batch.pixels, mean, logvar, **weights)


@torch.no_grad()
def measure_psnr(vae: VAE, clips: Tensor) -> dict[str, float]:
    """Mean over clips [N F H W 3] of the PSNR of each in dB, in 8 bits as a viewer gets it."""
    values = []
    for clip in clips.split(1):
        again = to_frames(vae.decode(vae.encode(to_pixels(clip))[0]))
        values.append(psnr((again.float() - clip.float()) / 127.5))
    return {"psnr": torch.stack(values).mean().item()}


@torch.no_grad()
def measure_scale(vae: VAE, clips: Tensor) -> float:
    """What brings the latents of clips [N F H W 3] to unit variance."""
    means = torch.cat([vae.encode(to_pixels(clip))[0] for clip in clips.split(2)])
    return 1 / means.float().std().item()


@torch.no_grad()
def draw_sheet(vae: VAE, clips: Tensor, path: Path) -> None:
    """Each clip above what the autoencoder makes of it."""
    again = to_frames(vae.decode(vae.encode(to_pixels(clips))[0]))
    rows = [row.cpu().numpy() for pair in zip(clips, again, strict=True) for row in pair]
    contact_sheet(rows, ["drawn", "through the autoencoder"] * len(clips)).save(path)
