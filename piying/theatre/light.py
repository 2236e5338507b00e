"""Day, dusk and night: what they do to the colour of paper, to the sky, and to the whole picture."""

import torch
from torch import Tensor

from piying.theatre.scene import Light

# What paper of colour c becomes: c * gain + glow, 0..255. Backdrops are dyed in full, actors hardly.
_GAIN: dict[Light, tuple[float, float, float]] = {
    "day": (1, 1, 1),
    "dusk": (0.94, 0.74, 0.64),
    "night": (0.36, 0.42, 0.56),
}
_GLOW: dict[Light, tuple[float, float, float]] = {"day": (0, 0, 0), "dusk": (14, 0, 6), "night": (4, 8, 22)}
_ON_ACTORS: dict[Light, tuple[float, float, float]] = {
    "day": (1, 1, 1),
    "dusk": (1, 0.97, 0.95),
    "night": (0.92, 0.92, 0.97),
}


def tint(colour: tuple[int, ...], light: Light) -> tuple[int, ...]:
    """An RGB colour 0..255 as this light shows it."""
    dyed = (c * gain + glow for c, gain, glow in zip(colour, _GAIN[light], _GLOW[light], strict=True))
    return tuple(min(255, round(channel)) for channel in dyed)


def on_actors(light: Light) -> Tensor:
    """Gain [3] of the actors' colours, mild, so that red stays red at night."""
    return torch.tensor(_ON_ACTORS[light])


def falloff(light: Light, height: int, width: int) -> Tensor:
    """Gain [3 H W] of the whole picture: a lamp's soft vignette, low and warm at dusk, narrow at night."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    edge = (0.5 * (x**2 + y**2)).clamp(0, 1)
    depth = {"day": 0.1, "dusk": 0.22, "night": 0.3}[light]
    gain = (1 - depth * edge).expand(3, -1, -1)
    if light == "dusk":
        warm = torch.tensor((1.06, 0.99, 0.9))[:, None, None]
        gain = gain * (1 + (warm - 1) * (0.5 + 0.5 * y))
    return gain
