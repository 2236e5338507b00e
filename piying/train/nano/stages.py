"""The whole training of nano: from nothing but the theatre to a folder that any part of Piying loads."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import torch

from piying.config import ModelConfig
from piying.errors import UsageError
from piying.files import replacing
from piying.models import initial
from piying.models.text import Tokenizer
from piying.parallel import ranks
from piying.theatre import captions
from piying.train.hooks import Clock, Listener
from piying.train.nano.recipe import Recipe
from piying.train.nano.text import train_text
from piying.train.nano.tokenizer import train_tokenizer
from piying.train.nano.transformer import train_transformer
from piying.train.nano.vae import train_vae
from piying.train.stage import Run
from piying.weights import Checkpoint, load, save

StageName = Literal["vae", "text", "transformer"]
STAGES: tuple[StageName, ...] = ("vae", "text", "transformer")


def train_nano(
    recipe: Recipe,
    out: Path,
    *,
    device: str | torch.device,
    minutes: float | None = None,
    resume: bool = False,
    stages: Sequence[StageName] = STAGES,
    on_event: Listener = print,
) -> Path | None:
    """Trains the stages in order, each once: the folder of the finished model, or None where a call ended before that.

    A call ends after `minutes` of wall time, but not before it got a step further. `out` keeps checkpoints, logs,
    sheets and cached latents. With `resume` a run goes on where the last one in `out` ended, to the same weights, bit
    for bit on a CPU; a GPU adds up in its own order. Ranks that torchrun started train together. Raises UsageError
    where `out` holds a training and `resume` was not asked for, or one of another recipe.
    """
    begun = _begun(recipe, recipe.start) if recipe.start else None
    if ranks.rank() == 0:
        _open(recipe, out, resume)
    device = torch.device(device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    run = Run(recipe, out, device, Clock(minutes), on_event)
    start = begun or _first_stages(run, stages)
    if start is None or "transformer" not in stages:
        return None
    painter = train_transformer(run, start)
    if painter is None:
        return None
    folder = out / start.config.name
    checkpoint = replace(start, transformer=painter.transformer, text=painter.text, words=captions.words())
    if ranks.rank() == 0:
        stored = getattr(torch, recipe.stored)
        save(checkpoint, folder, stored, shard_bytes=15 * 2**20, replaces=True)  # files that any git host takes
    ranks.wait()
    return folder


def _first_stages(run: Run[Recipe], stages: Sequence[StageName]) -> Checkpoint | None:
    """The trained autoencoder and text encoder beside a transformer that knows nothing yet; None where the clock ended
    a stage or the transformer has no turn."""
    recipe, out = run.recipe, run.out
    needed = set(stages) | ({"vae", "text"} if "transformer" in stages else set())
    for name in needed - set(stages):
        if not (out / name).is_dir():
            raise UsageError(f"stages={','.join(stages)}: {name} was not trained in {out}; add it to the stages")
    if ranks.rank() == 0:
        _tokenizer(recipe, out)
    ranks.wait()
    tokenizer = _tokenizer(recipe, out)
    seen = train_vae(run) if "vae" in needed else None
    text = train_text(run, tokenizer) if "text" in needed else None
    if seen is None or text is None:
        return None
    vae, scale = seen
    config = _scaled(recipe.model, scale)
    return Checkpoint(config, initial.transformer(config.transformer, recipe.seed), vae, text, tokenizer)


def _begun(recipe: Recipe, name: str) -> Checkpoint:
    """The model that the recipe starts from. Raises ModelMissing, or UsageError where its shape is another."""
    start = load(name, dtype=torch.float32)
    if start.config != _scaled(recipe.model, start.config.vae.latent_scale):
        raise UsageError(f"start={name}: has another shape than the recipe's model; state the same one, or no start")
    return start


def _scaled(model: ModelConfig, scale: float) -> ModelConfig:
    return replace(model, vae=replace(model.vae, latent_scale=scale, image_latent_scale=scale))


def _tokenizer(recipe: Recipe, out: Path) -> Tokenizer:
    """Trained once. Raises UsageError where the text encoder has too few rows for it."""
    path = out / "tokenizer.json"
    if not path.is_file():
        with replacing(path) as partial:
            partial.write_text(train_tokenizer(recipe.seed), "utf-8")
    text = path.read_text("utf-8")
    pieces, rows = len(json.loads(text)["model"]["vocab"]), recipe.model.text.vocabulary
    if pieces > rows:
        raise UsageError(f"model.text.vocabulary={rows}: the tokenizer has {pieces} pieces; use at least as many rows")
    return Tokenizer.from_json(text)


def _open(recipe: Recipe, out: Path, resume: bool) -> None:
    """Marks `out` with the recipe."""
    mark = out / "recipe.json"
    text = json.dumps(asdict(recipe), indent=1)
    if mark.is_file():
        if not resume:
            raise UsageError(f"out={out}: holds a training; go on with it (--resume) or choose another folder")
        if mark.read_text() != text:
            raise UsageError(f"out={out}: was trained by another recipe; use that one or choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    mark.write_text(text)
