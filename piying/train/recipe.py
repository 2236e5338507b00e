"""A training as data: frozen dataclasses, read from TOML, with `a.b=3` on top. The model's own shape is part of it."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from piying.config import NANO, ModelConfig
from piying.errors import UsageError
from piying.theatre.scene import FRAMES

RECIPE = Path(__file__).with_name("nano.toml")
T = TypeVar("T")


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
class OptimizerRecipe:
    """Muon for hidden matrices, AdamW for the rest; warm-up, steady, linear decay to zero."""

    matrix_rate: float = 3e-3
    rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: int = 100  # steps
    decay: float = 0.3  # the last share of all steps
    clip: float = 1.0  # norm of the gradient
    ema: float = 0.999  # the share of the average that stays at each step


@dataclass(frozen=True, kw_only=True)
class VAERecipe:
    """Pixels -> latents -> pixels."""

    phases: tuple[Phase, ...]
    optimizer: OptimizerRecipe = OptimizerRecipe()
    kl: float = 1e-6
    pyramid: float = 1.0
    motion: float = 1.0


@dataclass(frozen=True, kw_only=True)
class TextRecipe:
    """Captions -> the facts that they tell."""

    steps: int = 1000
    batch: int = 64
    optimizer: OptimizerRecipe = OptimizerRecipe()


@dataclass(frozen=True, kw_only=True)
class TransformerRecipe:
    """Captions and conditions -> latents."""

    phases: tuple[Phase, ...]
    optimizer: OptimizerRecipe = OptimizerRecipe()
    log_snr: tuple[float, float] = (0.0, 2.0)  # mean and standard deviation of the levels that are trained
    uniform: float = 0.05  # the share of timesteps that is drawn evenly instead
    drop: float = 0.1  # captions replaced by the empty one, for guidance
    tune_text: float = 0.5  # the first share of all steps, in which the text encoder learns too
    first_frame: float = 0.2
    first_and_last: float = 0.1
    continuation: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a training's result."""

    vae: VAERecipe
    transformer: TransformerRecipe
    text: TextRecipe = TextRecipe()
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


def build(kind: type[T], path: Path | None, overrides: Sequence[str]) -> T:
    """A dataclass of any kind from a file, or from its defaults, with overrides on top. Raises UsageError as `read`."""
    table = _table(path) if path else {}
    for override in overrides:
        _put(table, override)
    made: T = _build(kind, table, "", None)
    return made


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"recipe={path}: cannot be read ({error.strerror})") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"recipe={path}: not valid TOML ({error})") from None


def _put(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"override {override!r}: write key=value, e.g. transformer.drop=0.2")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *parents, last = key.strip().split(".")
    for parent in parents:
        inner = table.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise UsageError(f"override {override!r}: {parent} is not a table; give its value whole")
        table = inner
    table[last] = value


def _build(kind: Any, table: Mapping[str, Any], where: str, start: Any) -> Any:
    """A dataclass from a table: over the values of `start`, else over the defaults of its fields."""
    hints = get_type_hints(kind)
    for key in table:
        if key not in hints:
            raise UsageError(f"{where}{key}: unknown; {where or 'a recipe '}has {', '.join(hints)}")
    defaults = {item.name: item.default for item in fields(kind)}
    values = {
        key: _convert(hints[key], value, f"{where}{key}", getattr(start, key) if start else defaults[key])
        for key, value in table.items()
    }
    if start is not None:
        return replace(start, **values)
    try:
        return kind(**values)
    except TypeError:
        missing = [item.name for item in fields(kind) if item.name not in values and item.default is MISSING]
        raise UsageError(f"{where}{missing[0]}: missing; a recipe has to state it") from None


def _convert(hint: Any, value: Any, where: str, start: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (hint,) = [argument for argument in arguments if argument is not type(None)]
        return _convert(hint, value, where, None)
    if is_dataclass(hint) and isinstance(value, dict):
        return _build(hint, value, f"{where}.", start if is_dataclass(start) else None)
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(_convert(kinds[i], value[i], f"{where}[{i}]", None) for i in range(len(value)))
    if origin is Literal and value in arguments:
        return value
    if hint is float and type(value) in (int, float):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise UsageError(f"{where}={value!r}: must be {_spell(hint)}")


def _spell(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(arguments)
    if origin is tuple:
        item = "a table" if is_dataclass(arguments[0]) else arguments[0].__name__
        return f"a list, each {item}" if arguments[-1] is Ellipsis else f"a list of {len(arguments)}, each {item}"
    if is_dataclass(hint):
        return "a table"
    return {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}[hint.__name__]


def _check(recipe: Recipe) -> None:
    model = recipe.model
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
