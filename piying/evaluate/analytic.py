"""The first judge, which learned nothing: geometry, brightness and the theatre's own figures.

It judges the colour, size and motion of the subjects that it is told to look for, and the camera. Which subject is
there, backdrop, weather, light and style are left to the detectors; of the style it makes a guess, to know what to
look for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from piying.evaluate import flow, paths
from piying.evaluate.looks import pictures, subsample
from piying.evaluate.sight import COLOURLESS, Sight
from piying.evaluate.stencils import Pose, Stencils, find, stencils
from piying.theatre import puppets
from piying.theatre.scene import COLOURS, Camera, Colour, Motion, Size, Style, Subject

# What the stage does (piying.theatre.motion): shares of the canvas's height by number of actors, breadth of the widest
# puppets in sizes (the first where they spin), zoom over a clip, and the camera's travel in canvas heights.
HEIGHTS: dict[int, dict[Size, float]] = {1: {"small": 0.4, "large": 0.65}, 2: {"small": 0.3, "large": 0.45}}
BREADTHS = (1.0, 1.3)
ZOOM = 1.45
TRAVEL: dict[Camera, tuple[float, float]] = {"pan_left": (-0.5, 0.0), "pan_right": (0.5, 0.0), "tilt_up": (0.0, -0.3)}
PAIR_TRAVEL = 0.85  # share of it with two actors

KEYS = (8, 0, 16)  # looks at which all colours, sizes and facings are tried; the first is the middle, at rest
GREY = 0.05  # mean colourfulness (0..1) below which there are no colours, only the warmth of a lamp
ONE_HUE = 0.987  # share of all colourfulness that is of one hue when a lamp shines through a screen
ANGLES = (0.0, 0.16, -0.16, 0.32, -0.32, *(math.tau * i / 12 for i in range(1, 12)))
PHASES = (0.0, 0.33, 0.67)  # gait cycles
TURNS = ((0.0, 0.33), (0.0, 0.67), *((angle, 0.0) for angle in ANGLES))


@dataclass(frozen=True)
class Guess:
    """A subject as the key looks show it."""

    score: float
    style: Style
    colour: Colour
    size: Size
    scale: float  # pixels a puppet unit at rest
    facing: int


@dataclass(frozen=True)
class Found:
    """A subject in a clip of T looks; places are canvas heights from the upper left corner."""

    guess: Guess
    place: Tensor  # [T 2]
    angle: Tensor  # [T] radians, unwrapped
    belief: Tensor  # [T] above 0, how well the puppet explains the look


@torch.inference_mode()
def look(clips: Tensor, casts: Sequence[Sequence[Subject]]) -> list[Sight]:
    """What is seen in clips uint8 [B F H W 3] of the subjects of `casts`, one or two a clip."""
    return [_look(clip, cast) for clip, cast in zip((pictures(subsample(clips)) + 1) / 2, casts, strict=True)]


def _look(clip: Tensor, cast: Sequence[Subject]) -> Sight:
    """clip [T 3 H W] in 0..1."""
    small = F.avg_pool2d(clip, 2)
    free = torch.ones_like(small[:, 0])  # of puppets found so far, [T H W]
    zooms = zooms_of(len(clip), flow.camera(flow.drift(clip, torch.ones_like(clip[:, 0]))))
    styles: tuple[Style, ...] = possible_styles(clip)
    actors: dict[Subject, Found] = {}
    for subject in cast:
        actors[subject] = found = search(small, free, subject, styles, HEIGHTS[len(cast)], zooms)
        styles = (found.guess.style,)
        free = free * elsewhere(found, subject, small)
    camera = flow.camera(flow.drift(clip, F.interpolate(free[:, None], scale_factor=2)[:, 0]))
    seen: dict[str, dict[str, str]] = {}
    for subject, found in actors.items():
        seen[subject] = {"size": found.guess.size, "motion": motion_of(found, camera, len(cast))}
        if found.guess.style not in COLOURLESS:
            seen[subject]["colour"] = found.guess.colour
    return Sight(seen, {"camera": camera})


def possible_styles(clip: Tensor) -> tuple[Style, ...]:
    """What the hues allow. clip [T 3 H W] in 0..1."""
    red, green, blue = clip[::4].unbind(1)
    across, along = red - (green + blue) / 2, math.sqrt(0.75) * (green - blue)  # hue and colourfulness as a vector
    colourful = torch.hypot(across, along)
    if float(colourful.mean()) < GREY:
        return ("black_and_white",)
    alike = float(torch.hypot(across.mean(), along.mean()) / colourful.mean())
    return ("shadow", "ink") if alike > ONE_HUE else ("paper", "cartoon", "ink")


def search(
    looks: Tensor,
    free: Tensor,
    subject: Subject,
    styles: Sequence[Style],
    heights: Mapping[Size, float],
    zooms: Tensor,
) -> Found:
    """For each size what explains the key looks best; of these what explains all looks best.

    looks [T 3 H W] in 0..1, free [T H W].
    """
    found = []
    for size, share in heights.items():
        for scale in scales(subject, share * looks.shape[-2]):
            guesses = [guess_at(looks, free, subject, colours_of(style), style, size, scale, zooms) for style in styles]
            found.append(follow(looks, free, subject, max(guesses, key=lambda guess: guess.score), zooms))
    return max(found, key=lambda track: float(track.belief.mean()))


def guess_at(
    looks: Tensor,
    free: Tensor,
    subject: Subject,
    colours: tuple[Colour, ...],
    style: Style,
    size: Size,
    scale: float,
    zooms: Tensor,
) -> Guess:
    """The colour and facing that explain the key looks best."""
    total = torch.zeros(2, len(colours), device=looks.device)
    for key in KEYS:
        poses = [Pose(scale * float(zooms[key]), facing, phase=phase) for facing in (1, -1) for phase in PHASES]
        found = find(looks[key, None], _stencils(looks, subject, colours, style, tuple(poses)), free[key, None])
        total += found.score[0].unflatten(0, (2, len(PHASES))).amax(1)
    facing, colour = divmod(int(total.argmax()), len(colours))
    return Guess(float(total.max()), style, colours[colour], size, scale, (1, -1)[facing])


def follow(looks: Tensor, free: Tensor, subject: Subject, guess: Guess, zooms: Tensor) -> Found:
    """Place and angle in every look."""
    place, angle, belief = torch.zeros(len(looks), 2), torch.zeros(len(looks)), torch.zeros(len(looks))
    for zoom in zooms.unique():
        steps = (zooms == zoom).nonzero()[:, 0]
        poses = [Pose(guess.scale * float(zoom), guess.facing, *turn) for turn in TURNS]
        found = find(looks[steps], _stencils(looks, subject, (guess.colour,), guess.style, tuple(poses)), free[steps])
        score, pose = found.score[:, :, 0].max(1)
        where = torch.stack([found.x[:, :, 0], found.y[:, :, 0]], -1)[torch.arange(len(steps)), pose]
        place[steps] = ((where + 0.5) / looks.shape[-2]).cpu()
        angle[steps] = torch.tensor([poses[i].angle for i in pose.tolist()])
        belief[steps] = score.clamp(min=0.01).cpu()
    return Found(guess, place, _unwrap(angle), belief)


def colours_of(style: Style) -> tuple[Colour, ...]:
    """The colours that a puppet may wear, as far as a style shows them."""
    return COLOURS if style != "shadow" else COLOURS[:1]


def _stencils(
    looks: Tensor, subject: Subject, colours: tuple[Colour, ...], style: Style, poses: tuple[Pose, ...]
) -> Stencils:
    return _drawn(subject, colours, style, poses, (looks.shape[-2], looks.shape[-1]), str(looks.device))


@lru_cache(maxsize=96)  # up to 6 MB each; clips of one footage ask for the same again and again
def _drawn(
    subject: Subject,
    colours: tuple[Colour, ...],
    style: Style,
    poses: tuple[Pose, ...],
    size: tuple[int, int],
    device: str,
) -> Stencils:
    return stencils(subject, colours, style, poses, size, device)


def zooms_of(looks: int, camera: Camera) -> Tensor:
    """The zoom of each look [T], in five levels."""
    s = (4 * torch.linspace(-0.5, 0.5, looks)).round() / 4
    return ZOOM ** (s * {"zoom_in": 1, "zoom_out": -1}.get(camera, 0))


def scales(subject: Subject, pixels: float) -> list[float]:
    """Pixels a puppet unit for a size, as the stage has it: the widest puppets are smaller where they spin."""
    half_width, half_height = puppets.extent(subject)
    return sorted({pixels / max(2 * half_height, 2 * half_width / breadth) for breadth in BREADTHS})


def _unwrap(angle: Tensor) -> Tensor:
    """Angles [T] without jumps of a whole turn."""
    steps = torch.remainder(angle.diff() + math.pi, math.tau) - math.pi
    return angle[0] + torch.cat([torch.zeros(1), steps.cumsum(0)])


def elsewhere(found: Found, subject: Subject, looks: Tensor) -> Tensor:
    """1 where the subject is not, [T H W]."""
    height, width = looks.shape[-2:]
    half_width, half_height = (side * found.guess.scale / height * 1.1 for side in puppets.extent(subject))
    x = (torch.arange(width, device=looks.device) + 0.5) / height
    y = (torch.arange(height, device=looks.device) + 0.5) / height
    place = found.place.to(looks.device)
    beside = (x - place[:, :1]).abs() > half_width
    above = (y - place[:, 1:]).abs() > half_height
    return (beside[:, None, :] | above[:, :, None]).float()


def motion_of(found: Found, camera: Camera, count: int) -> Motion:
    """The motion relative to the stage: what the camera added is taken away."""
    place = found.place.double()
    s = torch.linspace(-0.5, 0.5, len(place), dtype=torch.float64)
    zoom = zooms_of(len(place), camera).double()
    middle = place.new_tensor([0.75, 0.5])
    travel = place.new_tensor(TRAVEL.get(camera, (0.0, 0.0))) * (PAIR_TRAVEL if count == 2 else 1.0)
    place = (place - middle) / zoom[:, None] + middle + s[:, None] * travel
    return paths.motion(place[:, 0], place[:, 1], found.angle.double(), found.belief.double())
