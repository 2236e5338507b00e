"""A training as data: frozen dataclasses, read from TOML, with `a.b=3` on top."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from piying.errors import UsageError

T = TypeVar("T")


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


def build(kind: type[T], path: Path | None, overrides: Sequence[str]) -> T:
    """A dataclass of any kind from a file, or from its defaults, with overrides such as `transformer.drop=0.2` on top.

    Raises UsageError for an unknown key or a value of the wrong type.
    """
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
