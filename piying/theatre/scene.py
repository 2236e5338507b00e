"""What a theatre video shows, as plain facts: the renderer draws them, captions tell them, judges check them."""

from dataclasses import dataclass
from typing import Literal, get_args

Subject = Literal[
    "boat",
    "car",
    "train",
    "balloon",
    "kite",
    "fish",
    "bird",
    "butterfly",
    "cat",
    "dog",
    "horse",
    "dragon",
    "girl",
    "boy",
]
Troupe = Literal["dawa", "erwa", "sanwa", "siwa", "wuwa", "liuwa", "qiwa", "grandpa", "snake_lady"]
Colour = Literal["red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black"]
Size = Literal["small", "large"]
Motion = Literal["left", "right", "rise", "sink", "jump", "spin", "circle", "sway", "still"]
Backdrop = Literal["sea", "meadow", "forest", "desert", "snowfield", "mountains", "night_city", "room", "stage"]
Camera = Literal["still", "pan_left", "pan_right", "zoom_in", "zoom_out", "tilt_up"]
Weather = Literal["clear", "rain", "snow", "leaves", "fog"]
Light = Literal["day", "dusk", "night"]
Style = Literal["paper", "black_and_white", "shadow", "ink", "cartoon"]
UnseenStyle = Literal["woodcut", "embroidery"]

SUBJECTS: tuple[Subject, ...] = get_args(Subject)
TROUPE: tuple[Troupe, ...] = get_args(Troupe)
COLOURS: tuple[Colour, ...] = get_args(Colour)
SIZES: tuple[Size, ...] = get_args(Size)
MOTIONS: tuple[Motion, ...] = get_args(Motion)
BACKDROPS: tuple[Backdrop, ...] = get_args(Backdrop)
CAMERAS: tuple[Camera, ...] = get_args(Camera)
WEATHERS: tuple[Weather, ...] = get_args(Weather)
LIGHTS: tuple[Light, ...] = get_args(Light)
STYLES: tuple[Style, ...] = get_args(Style)
UNSEEN_STYLES: tuple[UnseenStyle, ...] = get_args(UnseenStyle)

FRAMES, FPS = 49, 8


@dataclass(frozen=True, kw_only=True)
class Actor:
    """One puppet. The troupe wear their own colours: `colour` is then the colour of the robe and is never told."""

    subject: Subject | Troupe
    colour: Colour
    size: Size = "large"
    motion: Motion = "still"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All facts of one clip. Everything that is not a fact (places, phases, grain) is drawn from `seed`."""

    actors: tuple[Actor, ...]  # one or two
    backdrop: Backdrop = "stage"
    camera: Camera = "still"
    weather: Weather = "clear"
    light: Light = "day"
    style: Style | UnseenStyle = "paper"
    seed: int = 0
