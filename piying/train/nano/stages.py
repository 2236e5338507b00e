"""The whole training of nano: from nothing but the theatre to a folder that any part of Piying loads."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import torch

from piying.config import ModelConfig
from piying.data.dataset import write_whole
from piying.errors import UsageError
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
    """Trains the stages in order, each once: the folder of the finished model, `out` where there is none since no
    transformer was begun, or None where a call ended before that.

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
    start = _first_stages(run, begun, stages)
    if start is None:
        return None
    if "transformer" in stages:
        transformer = train_transformer(run, start)
        if transformer is None:
            return None
        start = replace(start, transformer=transformer)
    elif not begun:
        return out
    folder = out / start.config.name
    checkpoint = replace(start, words=captions.words())
    if ranks.rank() == 0:
        stored = getattr(torch, recipe.stored)
        save(checkpoint, folder, stored, shard_bytes=15 * 2**20, replaces=True)  # files that any git host takes
    ranks.wait()
    return folder


def _first_stages(run: Run[Recipe], begun: Checkpoint | None, stages: Sequence[StageName]) -> Checkpoint | None:
    """What the transformer's stage starts from: `begun`, or a model that knows nothing yet, with the autoencoder and
    the text encoder that were trained here. None where the clock ended a stage."""
    out, last = run.out, "transformer" in stages
    needed = {name for name in ("vae", "text") if name in stages or (last and (out / name).is_dir())}
    if last and not begun:
        for name in {"vae", "text"} - needed:
            raise UsageError(f"stages={','.join(stages)}: {name} was not trained in {out}; add it to the stages")
    model = begun or _untrained(run.recipe, out)
    if "vae" in needed:
        if (seen := train_vae(run, model.vae, model.config.vae.latent_scale)) is None:
            return None
        vae, scale = seen
        model = replace(model, vae=vae, config=_scaled(model.config, scale))
    if "text" in needed:
        if (text := train_text(run, model.tokenizer, model.text)) is None:
            return None
        model = replace(model, text=text)
    return model


def _untrained(recipe: Recipe, out: Path) -> Checkpoint:
    """A model of random weights, and a tokenizer of its own."""
    if ranks.rank() == 0:
        _tokenizer(recipe, out)
    ranks.wait()
    config, seed = recipe.model, recipe.seed
    return Checkpoint(
        config,
        initial.transformer(config.transformer, seed),
        initial.vae(config.vae, seed),
        initial.text(config.text, seed),
        _tokenizer(recipe, out),
    )


def _begun(recipe: Recipe, name: str) -> Checkpoint:
    """The model that the recipe goes on from. Raises ModelMissing, or UsageError where its shape is another."""
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
        write_whole(path, train_tokenizer(recipe.seed))
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
    write_whole(mark, text)
