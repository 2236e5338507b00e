"""The places of the theatre as sheets of paper, from back to front."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random

from piying.theatre import interiors, landscapes
from piying.theatre.layers import DENSITY, Layer, Sheet
from piying.theatre.scene import Backdrop, Light

VARIANTS = 8  # drawings of each place; mirroring and shifting give the rest

_PLACES: dict[Backdrop, Callable[[Callable[[], Sheet], Random], Sequence[Layer]]] = {
    "sea": landscapes.sea,
    "meadow": landscapes.meadow,
    "forest": landscapes.forest,
    "desert": landscapes.desert,
    "snowfield": landscapes.snowfield,
    "mountains": landscapes.mountains,
    "night_city": interiors.night_city,
    "room": interiors.room,
    "stage": interiors.stage,
}


@lru_cache(maxsize=VARIANTS * len(_PLACES) * 10)  # nano's whole world, about 330 MB
def draw(
    backdrop: Backdrop, light: Light, outline: float, variant: int, height: int, aspect: float, device: str
) -> tuple[Layer, ...]:
    """The sheets of a place for a canvas of `height` pixels, back to front; `outline` is in canvas heights."""

    def sheet() -> Sheet:
        return Sheet(height * DENSITY, aspect, light, outline)

    layers = _PLACES[backdrop](sheet, Random(f"{backdrop} {variant}"))
    return tuple(layer.to(device) for layer in layers)
