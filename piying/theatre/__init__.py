"""The procedural paper theatre: a world of which every fact is known. See scene.py for the facts.

`render` (and torch with it) is imported when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from piying.theatre.scene import Actor, Scene

if TYPE_CHECKING:
    from piying.theatre.stage import Drawing, render

__all__ = ["Actor", "Drawing", "Scene", "render"]


def __getattr__(name: str) -> Any:
    if name in ("Drawing", "render"):
        from piying.theatre import stage

        return getattr(stage, name)
    raise AttributeError(f"module 'piying.theatre' has no attribute '{name}'")
