"""The training of nano as data. The model's own shape is part of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from piying.config import NANO, ModelConfig
from piying.errors import UsageError
from piying.theatre.scene import FRAMES
from piying.train.recipe import OptimizerRecipe, build

RECIPE = Path(__file__).with_name("nano.toml")
_USUAL = OptimizerRecipe()


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training at one shape. Low resolution first: most of what is to be learned shows there."""

    steps: int
    batch: int
    pool: int  # clips that the phase draws from
    begin: int | None = None  # clips that are there at its first step; the rest come evenly over its steps. None: all
    size: tuple[int, int] = (96, 144)  # pixels of the canvas
    frames: int = 49
    crop: tuple[int, int] | None = None  # pixels; the autoencoder sees windows of this size

    def there(self, step: int) -> int:
        """Clips that the pool holds at a step of this phase."""
        begin = self.pool if self.begin is None else min(self.begin, self.pool)
        return begin + (self.pool - begin) * step // self.steps


@dataclass(frozen=True, kw_only=True)
class VAERecipe:
    """Pixels -> latents -> pixels."""

    phases: tuple[Phase, ...]
    optimizer: OptimizerRecipe = _USUAL
    encoder: bool = True  # learns too; without, latents stay what they are, and whatever learned from them
    kl: float = 1e-6
    pyramid: float = 1.0
    motion: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TextRecipe:
    """Captions -> the facts that they tell."""

    steps: int = 1000
    batch: int = 64
    optimizer: OptimizerRecipe = _USUAL


@dataclass(frozen=True, kw_only=True)
class TransformerRecipe:
    """Captions and conditions -> latents."""

    phases: tuple[Phase, ...]
    optimizer: OptimizerRecipe = _USUAL
    log_snr: tuple[float, float] = (0.0, 2.0)  # mean and standard deviation of the levels that are trained
    uniform: float = 0.05  # the share of timesteps that is drawn evenly instead
    drop: float = 0.1  # captions replaced by the empty one, for guidance
    first_frame: float = 0.2
    first_and_last: float = 0.1
    continuation: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a training's result."""

    vae: VAERecipe
    transformer: TransformerRecipe
    text: TextRecipe = TextRecipe()
    start: str | None = (
        None  # a model that goes on learning, in place of random weights; stages not asked for keep theirs
    )
    model: ModelConfig = NANO
    seed: int = 0
    stored: Literal["float16", "bfloat16", "float32"] = "float16"  # weights in the finished folder
    compile: bool = False  # CUDA only
    log_every: int = 50  # steps
    save_every: int = 500
    validate_every: int = 500
    sheet_every: int = 2000
    validation: int = 64  # held-out clips


def read(path: Path | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file (None: the shipped one of nano), with overrides such as `transformer.drop=0.2` on top.

    Raises UsageError for an unknown key, a value of the wrong type, or parts that do not fit each other.
    """
    recipe: Recipe = build(Recipe, path or RECIPE, overrides)
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    model = recipe.model
    if not (recipe.vae.encoder or recipe.start):
        raise UsageError("vae.encoder=false: needs a model that has learned to encode; name one with start")
    if model.transformer.text_width != model.text.width:
        given, wanted = model.transformer.text_width, model.text.width
        raise UsageError(f"model.transformer.text_width={given}: must equal model.text.width={wanted}")
    time, height, _ = model.transformer.patch
    _check_phases("vae", recipe.vae.phases, 8, 8)
    _check_phases("transformer", recipe.transformer.phases, 8 * time, 8 * height)


def _check_phases(part: str, phases: tuple[Phase, ...], stride: int, cell: int) -> None:
    for index, phase in enumerate(phases):
        where, size = f"{part}.phases[{index}]", phase.crop or phase.size
        if phase.frames % stride != 1 or not 1 <= phase.frames <= FRAMES:
            raise UsageError(f"{where}.frames={phase.frames}: use {stride}n+1 up to {FRAMES}, e.g. {stride + 1}")
        if any(side % cell for side in size):
            raise UsageError(f"{where}: {size[0]}x{size[1]} is not divisible by {cell}; use e.g. {6 * cell}x{9 * cell}")
        if min(phase.steps, phase.batch, phase.pool) < 1:
            raise UsageError(f"{where}: steps, batch and pool must be at least 1")


def locate(phases: tuple[Phase, ...], step: int) -> tuple[int, int]:
    """The index of the phase that a step belongs to, and which of its steps it is."""
    for index, phase in enumerate(phases):
        if step < phase.steps:
            return index, step
        step -= phase.steps
    raise IndexError(step)


def largest(phases: tuple[Phase, ...]) -> dict[tuple[int, int], int]:
    """The clips that each size of canvas needs: all phases of a size share one pool."""
    return {size: max(phase.pool for phase in phases if phase.size == size) for size in {p.size: 0 for p in phases}}


def total(phases: tuple[Phase, ...]) -> int:
    """Steps of all phases."""
    return sum(phase.steps for phase in phases)
