"""Where the actors and the camera are at every moment, exactly.

Stage space: canvas heights from the canvas's upper left corner, x right, y down, as a camera at rest sees it. A clip
holds the whole course of its motions however many frames it has. A F: actors, frames.
"""

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from piying.theatre.puppets import extent
from piying.theatre.scene import FPS, FRAMES, Actor, Camera, Scene

ASPECT = 1.5  # width over height of the family's canvas
SECONDS = (FRAMES - 1) / FPS
GROUND = 0.88  # where walkers put their feet, canvas heights
OVERHANG = 0.2  # share of an actor's half-size that may leave the frame

TILT = 0.3  # of one who sways, radians

# Where those who fly or swim are at rest, canvas heights; all others stand on the ground.
HOVERS = {"balloon": 0.4, "kite": 0.38, "bird": 0.4, "butterfly": 0.42, "dragon": 0.44, "fish": 0.58}
STRIDES = {"car": 0.9, "train": 0.7, "horse": 0.9, "dragon": 0.6}  # distance of one gait cycle, puppet units
BEATS = {"boat": 0.5, "balloon": 0.35, "kite": 0.6, "fish": 1.0, "bird": 1.0, "butterfly": 1.1, "dragon": 0.6}  # hertz


@dataclass(frozen=True)
class Track:
    """The exact course of a clip."""

    centre: Tensor  # [A F 2] x, y in stage space
    scale: Tensor  # [A F] canvas heights a puppet unit, before zoom
    angle: Tensor  # [A F] clockwise, radians
    facing: Tensor  # [A] 1 right, -1 left
    phase: Tensor  # [A F] gait cycles
    offset: Tensor  # [F 2] of the camera, canvas heights at the actors' depth; x right, y down
    zoom: Tensor  # [F]
    aspect: float = ASPECT

    @property
    def at_rest(self) -> bool:
        """Whether the camera is."""
        return bool((self.zoom == self.zoom[0]).all() and (self.offset == self.offset[0]).all())

    def on_screen(self) -> Tensor:
        """The actors' centres [A F 2] on the canvas, in canvas heights from its upper left corner."""
        middle = torch.tensor((self.aspect / 2, 0.5))
        return (self.centre - self.offset - middle) * self.zoom[:, None] + middle


@dataclass(frozen=True)
class Region:
    """The part of the stage that an actor's body has to itself: edges in stage space, in view all the time."""

    left: float
    top: float
    right: float
    bottom: float
    follow: bool = True  # a traveller may go beyond the edges as far as the camera comes along


def track(scene: Scene, frames: int = FRAMES, aspect: float = ASPECT) -> Track:
    """The course of a scene, drawn from its facts and its seed alone."""
    rng = random.Random(f"{scene.seed} motion")
    s = torch.linspace(0, 1, frames)
    pair = len(scene.actors) == 2
    drift, zoom = _camera(scene.camera, s, rng, pair)
    regions = _regions(scene, rng, aspect, float(zoom.max()), drift)
    courses = [_course(actor, region, s, rng, drift, pair) for actor, region in zip(scene.actors, regions, strict=True)]
    centre, scale, angle, facing, phase = (torch.stack(part) for part in zip(*courses, strict=True))
    return Track(centre, scale, angle, facing, phase, (s - 0.5)[:, None] * torch.tensor(drift), zoom, aspect)


def _camera(camera: Camera, s: Tensor, rng: random.Random, pair: bool) -> tuple[tuple[float, float], Tensor]:
    """The camera's whole travel (x, y), and its zoom [F] by a factor of 1.45 about the nominal size."""
    pan, tilt = rng.uniform(0.9, 1.1) * (0.44 if pair else 0.5), rng.uniform(0.9, 1.1) * (0.22 if pair else 0.25)
    drift = {"pan_left": (-pan, 0.0), "pan_right": (pan, 0.0), "tilt_up": (0.0, -tilt)}.get(camera, (0.0, 0.0))
    along = {"zoom_in": s - 0.5, "zoom_out": 0.5 - s}.get(camera, 0 * s)
    return drift, 1.45**along


def _regions(scene: Scene, rng: random.Random, aspect: float, zoom: float, drift: tuple[float, float]) -> list[Region]:
    """Parts of the stage: all of it, two rows for travellers who would meet, else two columns."""
    half_width, half_height = (aspect / zoom - abs(drift[0])) / 2, (1 / zoom - abs(drift[1])) / 2
    left, right, top, bottom = aspect / 2 - half_width, aspect / 2 + half_width, 0.5 - half_height, 0.5 + half_height
    if len(scene.actors) == 1:
        return [Region(left, top, right, bottom)]
    travels = [actor.motion in ("left", "right") for actor in scene.actors]
    level = [actor.motion in ("left", "right", "still", "sway", "spin") for actor in scene.actors]
    if any(travels) and all(level):
        upper, lower = Region(left, top, right, 0.44), Region(left, 0.44, right, bottom)
        heights = [HOVERS.get(actor.subject, 1.0) + rng.uniform(0, 0.1) for actor in scene.actors]
        return [upper, lower] if heights[0] < heights[1] else [lower, upper]
    share = 0.5 + 0.1 * (travels[0] - travels[1])
    if rng.random() < 0.5:
        cut = left + share * (right - left)
        return [Region(left, top, cut, bottom, False), Region(cut, top, right, bottom, False)]
    cut = right - share * (right - left)
    return [Region(cut, top, right, bottom, False), Region(left, top, cut, bottom, False)]


def _course(
    actor: Actor, region: Region, s: Tensor, rng: random.Random, drift: tuple[float, float], pair: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One actor's centre [F 2], scale [F], angle [F], facing [] and phase [F]."""
    wide, tall = extent(actor.subject)
    size = {"small": 0.3, "large": 0.45}[actor.size] if pair else {"small": 0.4, "large": 0.65}[actor.size]
    breadth = 1.2 if actor.motion == "spin" else 1.3  # of the widest puppets, sizes
    scale = rng.uniform(0.96, 1.04) * size / max(2 * tall, 2 * wide / breadth)
    half_width, half_height = wide * scale, tall * scale
    match actor.motion:
        case "spin":
            body = (max(half_width, half_height),) * 2
        case "sway":
            body = half_width + math.sin(TILT) * half_height, half_height + math.sin(TILT) * half_width
        case _:
            body = half_width, half_height
    inset = (1 - OVERHANG) * body[0], (1 - OVERHANG) * body[1]
    room = _room(region.left, region.right, inset[0]), _room(region.top, region.bottom, inset[1])
    rest = HOVERS.get(actor.subject, GROUND - half_height) + rng.uniform(-0.03, 0.03)
    force, flip = rng.uniform(0.88, 1.0), rng.choice((-1, 1))
    x, y, angle = torch.zeros_like(s), torch.zeros_like(s), torch.zeros_like(s)

    match actor.motion:
        case "left" | "right":
            flip = 1 if actor.motion == "right" else -1
            along = max(0.0, flip * drift[0]) * region.follow
            x = flip * (s - 0.5) * force * min(0.95, room[0][1] - room[0][0] + 2 * along)
        case "rise" | "sink":
            sign = 1 if actor.motion == "sink" else -1
            y = sign * (s - 0.5) * force * min(0.6, room[1][1] - room[1][0] + 2 * max(0.0, sign * drift[1]))
        case "jump":
            hop = (s * rng.choice((2, 3))) % 1
            y = -4 * hop * (1 - hop) * force * min(0.32, room[1][1] - room[1][0])
        case "circle":
            turn = 2 * torch.pi * (flip * s + rng.random())
            x = torch.cos(turn) * force * min(0.24, (room[0][1] - room[0][0]) / 2)
            y = torch.sin(turn) * force * min(0.24, (room[1][1] - room[1][0]) / 2)
        case "spin":
            angle = 2 * torch.pi * s  # once and clockwise: of two ways a model lays both over each other
        case "sway":
            angle = force * TILT * torch.sin(2 * torch.pi * (rng.choice((2, 2.5, 3)) * s + rng.random()))
            x, y = half_height * torch.sin(angle), half_height * (1 - torch.cos(angle))  # about its foot

    x = x + _place(rng.uniform(*room[0]), x, room[0])
    y = y + _place(rest, y, room[1])
    return torch.stack((x, y), 1), torch.full_like(s, scale), angle, torch.tensor(flip), _gait(actor, x, scale, s, rng)


def _room(low: float, high: float, inset: float) -> tuple[float, float]:
    """Where a centre may be between two edges, `inset` away from them; their middle when there is no room."""
    middle = (low + high) / 2
    return min(low + inset, middle), max(high - inset, middle)


def _place(wanted: float, course: Tensor, room: tuple[float, float]) -> float:
    """The base of a course about zero that keeps it within its room, as near to the wanted one as can be."""
    low, high = room[0] - float(course.min()), room[1] - float(course.max())
    return min(max(wanted, low), high) if low <= high else (low + high) / 2


def _gait(actor: Actor, x: Tensor, scale: float, s: Tensor, rng: random.Random) -> Tensor:
    """Legs and wheels turn with the way, wings beat with the time, and one who stays only breathes."""
    seconds, start = s * SECONDS, rng.random()
    if actor.subject in BEATS:
        return start + BEATS[actor.subject] * seconds
    if actor.motion in ("left", "right"):
        return start + (x - x[0]).abs() / (scale * STRIDES.get(actor.subject, 0.65))
    idle = 0.18 if actor.motion in ("jump", "rise", "sink", "circle") else 0.04
    return idle * torch.sin(2 * torch.pi * (0.5 * seconds + start))
