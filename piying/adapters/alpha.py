"""Where a file says its alpha, when not beside each layer."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from piying.errors import PiyingError

DIFFUSERS = "lora_adapter_metadata"  # diffusers' entry in a file's metadata: the configuration of peft
_PLAIN = ("ss_network_alpha", "lora_alpha", "alpha")  # entries of trainers that write one number


@dataclass(frozen=True)
class Said:
    """An alpha for all layers, and others for some, by the ends of their names (a leading ^: the whole name)."""

    alpha: float
    patterns: Mapping[str, float] = field(default_factory=dict)
    by_root: bool = False  # rank-stabilised, alpha / sqrt(r) B A (arXiv:2312.03732)
    assumed: str | None = None

    def of(self, module: str, rank: int) -> float:
        alpha = self.alpha
        for pattern, value in self.patterns.items():
            if module == pattern.removeprefix("^") or module.endswith(f".{pattern}"):
                alpha = value
                break
        return alpha * math.sqrt(rank) if self.by_root else alpha


SAT = Said(1.0, assumed="alpha = 1, the default of SAT's trainer")


def find(path: Path, metadata: Mapping[str, str]) -> Said | None:
    """What the metadata of a file, or peft's adapter_config.json beside it, say of alpha; None for nothing."""
    if DIFFUSERS in metadata:
        config = _object(f"{path}: {DIFFUSERS}", metadata[DIFFUSERS])
        if said := _peft(path, {key.removeprefix("transformer."): value for key, value in config.items()}):
            return said
    config_file = path.with_name("adapter_config.json")
    if path.stem == "adapter_model" and config_file.is_file():
        try:
            text = config_file.read_text("utf-8")
        except (OSError, ValueError) as error:
            raise PiyingError(f"{config_file}: cannot be read ({error})") from error
        if said := _peft(config_file, _object(str(config_file), text)):
            return said
    for name in _PLAIN:
        if name in metadata:
            try:
                return Said(_number(path, name, float(metadata[name])))
            except ValueError:
                continue
    return None


def _peft(path: Path, config: Mapping[str, Any]) -> Said | None:
    if config.get("lora_alpha") is None:
        return None
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise PiyingError(f"{path}: alpha_pattern={patterns!r}: names with numbers are needed")
    for pattern in patterns:
        if not re.fullmatch(r"\^?[\w.]+", pattern):
            raise PiyingError(f"{path}: alpha_pattern {pattern!r} is a regular expression; Piying reads plain names")
    return Said(
        _number(path, "lora_alpha", config["lora_alpha"]),
        {pattern: _number(path, pattern, value) for pattern, value in patterns.items()},
        by_root=bool(config.get("use_rslora")),
    )


def _number(path: Path, name: str, value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise PiyingError(f"{path}: {name}={value!r}: a number is needed")
    return float(value)


def _object(where: str, text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise PiyingError(f"{where} is not JSON ({error})") from error
    if not isinstance(values, dict):
        raise PiyingError(f"{where} is not a JSON object")
    return values
