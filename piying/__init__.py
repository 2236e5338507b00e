"""Piying: video from text on your own machine. `piying.load("nano").generate("a red boat").save("boat.mp4")`."""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from piying.generate import Model, load
    from piying.request import Request
    from piying.video import Video

__version__ = "0.1.0"
__all__ = ["Model", "Request", "Video", "load"]

# Pieces of fixed sizes would leave holes in a card's memory that a small one cannot spare. torch reads this when it
# first takes any, before 2.9 by the second name; what a user set counts.
_ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
if sys.platform == "linux" and not os.environ.keys() & _ALLOCATOR:
    os.environ |= dict.fromkeys(_ALLOCATOR, "expandable_segments:True")

_HOMES = {"Model": "piying.generate", "Request": "piying.request", "Video": "piying.video", "load": "piying.generate"}


def __getattr__(name: str) -> Any:
    """Finds a public name where it lives when it is first used: importing piying alone starts nothing heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'piying' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
