"""What a style makes of the sheets of a backdrop and of the air; the puppets bring their own styles."""

import math

import torch
from torch import Tensor

from piying.theatre.scene import Light, Style, UnseenStyle

AnyStyle = Style | UnseenStyle
RGB = tuple[float, float, float]

OUTLINES: dict[AnyStyle, float] = {  # width of the pen on backdrops, canvas heights
    "paper": 0.006,
    "black_and_white": 0.006,
    "shadow": 0.004,
    "ink": 0.008,
    "cartoon": 0.014,
    "woodcut": 0.01,
    "embroidery": 0.006,
}
GRAIN: dict[AnyStyle, float] = {  # strength of the paper's grain
    "paper": 0.035,
    "black_and_white": 0.04,
    "shadow": 0.02,
    "ink": 0.04,
    "cartoon": 0.0,
    "woodcut": 0.05,
    "embroidery": 0.05,
}
SCREEN: dict[Light, RGB] = {"day": (1.0, 0.9, 0.68), "dusk": (1.0, 0.6, 0.3), "night": (0.62, 0.46, 0.34)}
_RICE: dict[Light, RGB] = {"day": (0.95, 0.93, 0.87), "dusk": (0.93, 0.8, 0.7), "night": (0.46, 0.49, 0.6)}
MIST: dict[Light, RGB] = {"day": (0.92, 0.93, 0.94), "dusk": (0.93, 0.77, 0.68), "night": (0.4, 0.44, 0.56)}
INK: dict[Light, RGB] = {"day": (0.2, 0.2, 0.22), "dusk": (0.26, 0.17, 0.18), "night": (0.05, 0.06, 0.11)}


def drawn_light(style: AnyStyle, light: Light) -> Light:
    """The light that a backdrop is drawn in: a shadow play has its own lamp, whose colour tells the hour."""
    return "day" if style == "shadow" else light


def grade(texture: Tensor, nearness: float, style: AnyStyle, light: Light, height: int) -> Tensor:
    """A sheet [4 h w], premultiplied 0..1, in a style. `nearness`: 0 the farthest sheet, 1 the front; `height` of the
    canvas in pixels gives the marks of a style their size."""
    alpha = texture[3:].clamp(min=1e-3)
    colour = texture[:3] / alpha
    grey = _grey(colour)
    match style:
        case "black_and_white":
            colour = (0.5 + 1.15 * (grey - 0.5)).expand(3, -1, -1)
        case "cartoon":
            colour = grey + 1.55 * (colour - grey)
        case "shadow":
            far, near = 0.6 - 0.48 * nearness, 1.0 - 0.7 * nearness
            colour = _rgb(SCREEN[light], colour) * (far + (near - far) * grey)
        case "ink":
            dark = 0.4 * (1 - nearness)
            tone = dark + (1 - dark) * _wash(grey, light) ** 1.4
            ink, rice = _rgb(INK[light], colour), _rgb(_RICE[light], colour)
            colour = ink + (rice - ink) * tone + 0.22 * (colour - grey)
        case "woodcut":
            ink, block = _rgb(INK[light], colour), _rgb(_RICE[light], colour)
            carved = _stripes(texture, 0.028 * height, math.pi / 2 - 0.3 * nearness)
            block = block * (0.95 + 0.6 * (colour - grey)).clamp(0.5, 1)
            colour = ink + (block - ink) * (6 * (_wash(grey, light) - 0.2 - 0.5 * carved) + 0.5).clamp(0, 1)
        case "embroidery":
            thread = _stripes(texture, 0.03 * height, 0.6 + 1.9 * nearness)
            colour = (grey + 1.3 * (colour - grey)) * (0.78 + 0.34 * thread)
    return torch.cat((colour.clamp(0, 1) * texture[3:], texture[3:]))


def finish(frames: Tensor, style: AnyStyle) -> Tensor:
    """What a style does to whole frames [F 3 H W]: black and white has no other colours."""
    return _grey(frames).expand_as(frames).clone() if style == "black_and_white" else frames


def shade(style: AnyStyle, light: Light) -> tuple[RGB, float]:
    """Colour and strength of what a puppet throws on the sheets behind it: a shadow, or its own halo in the dark."""
    if style == "shadow":
        return SCREEN[light], 0.25
    return ((0.72, 0.78, 0.95), 0.4) if light == "night" else ((0.1, 0.08, 0.1), 0.38)


def _grey(colour: Tensor) -> Tensor:
    """Luminance [... 1 H W] of [... 3 H W] (ITU-R BT.601)."""
    weights = colour.new_tensor((0.299, 0.587, 0.114))[:, None, None]
    return (colour * weights).sum(-3, keepdim=True)


def _wash(grey: Tensor, light: Light) -> Tensor:
    """Luminance of a dyed sheet stretched back to 0..1."""
    return (grey / {"day": 0.95, "dusk": 0.8, "night": 0.5}[light]).clamp(0, 1)


def _rgb(colour: RGB, like: Tensor) -> Tensor:
    return like.new_tensor(colour)[:, None, None]


def _stripes(texture: Tensor, period: float, angle: float) -> Tensor:
    """A triangle wave [1 h w] in 0..1 across the texture, `period` in texels."""
    y, x = (torch.arange(n, device=texture.device) for n in texture.shape[-2:])
    along = (x * math.cos(angle) + y[:, None] * math.sin(angle)) / period
    return (2 * (along % 1) - 1).abs()[None]
