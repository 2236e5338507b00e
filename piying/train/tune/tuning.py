"""A fine-tuning as data: what is trained and on what it is shown. Read from TOML, as nano's recipe is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from piying.adapters.attach import ATTENTION
from piying.errors import UsageError
from piying.train.recipe import OptimizerRecipe, build

LOOKING_ON = ("prompts", "log_every", "save_every", "validate_every", "sheet_every")  # may change on the way
CHARACTER = Path(__file__).with_name("character.toml")

_GENTLE = OptimizerRecipe(rate=1e-4, warmup=50, ema=0.99)

Kind = Literal["lora", "dora", "full"]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Everything that decides the result of a fine-tuning, but the model and the dataset."""

    kind: Kind = "lora"
    rank: int = 128
    alpha: float = 64.0
    targets: tuple[str, ...] = ATTENTION  # ends of the names of layers that are adapted
    steps: int = 2000
    batch: int = 1  # of all ranks together; rounded up to a multiple of them
    optimizer: OptimizerRecipe = _GENTLE
    log_snr: tuple[float, float] | None = None  # mean and deviation of the trained levels; None: all timesteps evenly
    uniform: float = 0.0  # of samples: any timestep instead; under much noise it shows whose looks they are
    weighting: Literal["plain", "flow"] = "plain"  # of the squared error of v; "flow": see loss.level_weights
    drop: float = 0.1  # captions replaced by the empty one
    preserve: float = 0.1  # of samples: names replaced by class words, and the target is what the base predicts
    keep: tuple[str, ...] = ()  # prompts that mean nobody of the cast; every other preserved sample is told one of them
    triggers: tuple[str, ...] = ()  # words that call up a style, each in any language; captions that say none get one
    prior: float = 0.0  # of samples: clips that show nobody of the cast, with what the base predicts as target
    first_frame: float = 0.2  # of samples, for models that take a first frame; those that always do always get it
    first_and_last: float = 0.0
    continuation: float = 0.0
    held_out: float = 0.1  # of the episodes, at least one; where there is one alone, of the clips
    prompts: tuple[str, ...] = ()  # videos made on the way; {token} and {alias} are those of the first of the cast
    seed: int = 0
    compile: bool = False  # CUDA only
    log_every: int = 10  # steps
    save_every: int = 100
    validate_every: int = 100
    sheet_every: int = 500  # steps between videos


def read(path: Path | None, overrides: Sequence[str], model: str) -> Tuning:
    """The recipe of a file (None: the shipped one for nano, the defaults for others), with overrides on top.

    Raises UsageError as `recipe.read` does.
    """
    tuning = build(Tuning, path or (CHARACTER if model == "nano" else None), overrides)
    for name in ("steps", "batch", "rank", "log_every", "save_every", "validate_every", "sheet_every"):
        if getattr(tuning, name) < 1:
            raise UsageError(f"{name}={getattr(tuning, name)}: use at least 1")
    for name in ("uniform", "drop", "preserve", "prior", "first_frame", "first_and_last", "continuation", "held_out"):
        if not 0 <= getattr(tuning, name) < 1:
            raise UsageError(f"{name}={getattr(tuning, name)}: a share, from 0 to below 1")
    if not all(word.strip() for word in tuning.triggers):
        raise UsageError("triggers: one of them is empty; give words that prompts say")
    if tuning.preserve + tuning.prior >= 1:
        raise UsageError(f"preserve={tuning.preserve}, prior={tuning.prior}: both together must stay below 1")
    if tuning.kind == "full" and tuning.preserve + tuning.prior > 0:
        raise UsageError("kind=full: there is no base left to compare with; set preserve=0 and prior=0")
    if tuning.optimizer.matrix_rate != _GENTLE.matrix_rate:
        raise UsageError("optimizer.matrix_rate: no fine-tuning has it; set optimizer.rate")
    if tuning.kind == "full" and tuning.optimizer.clip != _GENTLE.clip:
        raise UsageError("optimizer.clip: Adam in 8 bits, which kind=full takes, knows no norm over all; leave it out")
    return tuning
