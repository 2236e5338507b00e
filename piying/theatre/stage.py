"""The stage: scenes become frames. Everything is drawn from a scene's facts and its seed alone.

Shapes: B scenes, F frames, H W canvas pixels, P parts of a puppet, h w texels; colours are 0..1 until the very end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from piying.theatre import backdrops, puppets, styles, weather
from piying.theatre.layers import Layer
from piying.theatre.light import falloff, on_actors
from piying.theatre.motion import SECONDS, Track, track
from piying.theatre.scene import FRAMES, Light, Scene


@dataclass(frozen=True)
class Drawing:
    """Rendered clips, and which actor covers each pixel: 0 none, 1 the first, 2 the second."""

    frames: Tensor  # uint8 [B F H W 3]; F of the moments, where only some were drawn
    masks: Tensor  # uint8 [B F H W]


def render(
    scenes: Sequence[Scene],
    *,
    frames: int = FRAMES,
    moments: Sequence[Sequence[int]] | None = None,
    size: tuple[int, int] = (96, 144),
    device: torch.device | str = "cpu",
) -> Drawing:
    """Clips of the scenes on a canvas of `size` (height, width). A scene gives the same clip alone and among others.

    `moments`: of each scene the frames of its clip to draw, as many of each, and no others; None: all.
    """
    chosen = [range(frames)] * len(scenes) if moments is None else moments
    clips = [
        _perform(scene, frames, torch.tensor(shown), size, str(device))
        for scene, shown in zip(scenes, chosen, strict=True)
    ]
    pictures, masks = (torch.stack(part) for part in zip(*clips, strict=True))
    return Drawing(pictures, masks)


def _perform(scene: Scene, frames: int, moments: Tensor, size: tuple[int, int], device: str) -> tuple[Tensor, Tensor]:
    """One clip at its moments: uint8 [F H W 3] and masks uint8 [F H W].

    The front sheet and half of the weather hide the actors. What a frame shows hangs on the whole course, not on the
    moments that are drawn with it.
    """
    course = track(scene, frames, size[1] / size[0])
    canvas = torch.zeros(len(moments), 3, *size, device=device)
    masks = torch.zeros(len(moments), *size, dtype=torch.uint8, device=device)
    veils = weather.veils(scene.weather, scene.style, scene.light, scene.seed, size, device)

    *behind, front = _scenery(scene, size, device)
    for sheet in behind:
        _stand(canvas, sheet, course, moments)
    _drift(canvas, [veil for veil in veils if veil.behind], course, moments)
    lower_last = sorted(range(len(scene.actors)), key=lambda a: float(course.centre[a, :, 1].mean()))
    for a in lower_last:
        _act(canvas, masks, scene, a, course, moments)
    _stand(canvas, front, course, moments)
    _drift(canvas, [veil for veil in veils if not veil.behind], course, moments)

    pictures = styles.finish(canvas, scene.style).mul_(_gain(scene.style, scene.light, size, device)).add_(0.5)
    return pictures.clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous(), masks


def _scenery(scene: Scene, size: tuple[int, int], device: str) -> list[Layer]:
    """The sheets of the scene in its style and weather, back to front; the seed shifts and mirrors them."""
    rng = Random(f"{scene.seed} backdrop")
    light, outline = styles.drawn_light(scene.style, scene.light), styles.OUTLINES[scene.style]
    variant, shift, mirrored = rng.randrange(backdrops.VARIANTS), rng.uniform(-0.12, 0.12), rng.random() < 0.5
    sheets = backdrops.draw(scene.backdrop, light, outline, variant, size[0], size[1] / size[0], device)
    graded = []
    for rank, sheet in enumerate(sheets):
        texture = sheet.texture.flip(-1) if mirrored else sheet.texture
        texture = texture.float() / 255
        texture[:3] *= weather.DIMMING[scene.weather]
        texture = styles.grade(texture, rank / (len(sheets) - 1), scene.style, scene.light, size[0])
        left, top, right, bottom = sheet.box
        graded.append(Layer(texture, (left + shift, top, right + shift, bottom), sheet.depth))
    return graded


def _stand(canvas: Tensor, sheet: Layer, course: Track, moments: Tensor) -> None:
    """Put a sheet before the canvas, in place, as the camera sees it: the farther, the less it moves and grows."""
    height, width = canvas.shape[-2:]
    left, top, right, bottom = sheet.box
    zoom = course.zoom**sheet.depth
    x, y = (course.offset * sheet.depth).unbind(1)
    first = max(0, int(height * float(((top - 0.5 - y) * zoom + 0.5).min())))
    last = min(height, 1 + int(height * float(((bottom - 0.5 - y) * zoom + 0.5).max())))
    if first >= last:
        return
    shown = moments[:1] if course.at_rest else moments  # one picture for all frames
    zoom, x, y = zoom[shown], x[shown], y[shown]
    # Pixel centres -> canvas heights -> drawing space -> -1..1 across the texture.
    columns = ((torch.arange(width) + 0.5) / height - course.aspect / 2) / zoom[:, None] + x[:, None]
    rows = ((torch.arange(first, last) + 0.5) / height - 0.5) / zoom[:, None] + y[:, None] + 0.5
    grid = _grid(
        (2 * columns - left - right) / (right - left), (2 * rows - top - bottom) / (bottom - top), canvas.device
    )
    texture = sheet.texture.expand(len(zoom), -1, -1, -1)
    _cover(canvas[:, :, first:last], F.grid_sample(texture, grid, padding_mode="border", align_corners=False))


def _act(canvas: Tensor, masks: Tensor, scene: Scene, a: int, course: Track, moments: Tensor) -> None:
    """Put an actor and the shadow that it throws before the canvas, in place, and into the masks."""
    frames, _, height, width = canvas.shape
    device, actor = canvas.device, scene.actors[a]
    half_width, half_height = puppets.extent(actor.subject)
    scale = course.scale[a] * course.zoom * height  # pixels a puppet unit
    centre = course.on_screen()[a] * height  # pixels
    cos, sin, facing = course.angle[a].cos(), course.angle[a].sin(), course.facing[a]

    # A window of the canvas that follows the actor: as large as its largest pose, never beyond the canvas.
    margin = 0.06 * height
    wide = 2 * float(((half_width * cos.abs() + half_height * sin.abs()) * scale).max() + margin)
    tall = 2 * float(((half_width * sin.abs() + half_height * cos.abs()) * scale).max() + margin)
    wide, tall = min(width, int(wide) + 1), min(height, int(tall) + 1)
    cos, sin, scale, centre = cos[moments], sin[moments], scale[moments], centre[moments]
    left = (centre[:, 0] - wide / 2).round().clamp(0, width - wide).long()
    top = (centre[:, 1] - tall / 2).round().clamp(0, height - tall).long()

    resolution = 32 * round(0.5 + float(course.scale[a, 0]) * height * 2.5 * max(half_width, half_height) / 32)
    textures, to_texture = puppets.layers(actor, scene.style, resolution, course.phase[a, moments], device)
    lamp = torch.cat((on_actors(scene.light), torch.ones(1))).to(device)
    # Window pixels -> puppet units -> texture.
    linear = torch.stack((facing * cos, facing * sin, -sin, cos), 1).view(-1, 2, 2) / scale[:, None, None]
    origin = torch.stack((left, top), 1) + 0.5 - centre
    to_puppet = torch.cat((linear, linear @ origin[:, :, None]), 2).to(device)
    maps = to_texture[..., :2] @ to_puppet[:, None]  # [F P 2 3]
    maps[..., 2] += to_texture[..., 2]

    x, y = torch.arange(wide, device=device), torch.arange(tall, device=device)[:, None]
    puppet = torch.zeros(frames, 4, tall, wide, device=device)
    grid = torch.empty(frames, tall, wide, 2, device=device)
    for part, texture in enumerate(textures):
        for axis in (0, 1):
            dx, dy, start = maps[:, part, axis, :, None, None].unbind(1)
            torch.add(dx * x + start, dy * y, out=grid[..., axis])
        texture = (texture * lamp[:, None, None]).expand(frames, -1, -1, -1)
        _cover(puppet, F.grid_sample(texture, grid, align_corners=False))

    hue, strength = styles.shade(scene.style, scene.light)
    alpha = puppet[:, 3:]
    thrown = strength * _soften(alpha, height) * (1 - alpha)
    puppet = puppet + thrown * puppet.new_tensor((*hue, 1))[:, None, None]
    covered = alpha[:, 0] > 0.5
    for f in range(frames):
        rows, columns = slice(int(top[f]), int(top[f]) + tall), slice(int(left[f]), int(left[f]) + wide)
        _cover(canvas[f, :, rows, columns], puppet[f])
        masks[f, rows, columns].masked_fill_(covered[f], a + 1)


def _drift(canvas: Tensor, veils: list[weather.Veil], course: Track, moments: Tensor) -> None:
    """Put veils of weather before the canvas, in place."""
    frames, _, height, width = canvas.shape
    seconds = torch.linspace(0, SECONDS, len(course.zoom))[moments]
    offset = course.offset[moments]
    for veil in veils:
        x = veil.drift * seconds - offset[:, 0] + veil.sway * torch.sin(2.1 * seconds)
        y = veil.fall * seconds - offset[:, 1]
        # Where the window [H W] of each frame is in the tile, which is repeated to [2H 2W].
        columns = torch.arange(width) + 0.5 + (-x * height)[:, None].remainder(width)
        rows = torch.arange(height) + 0.5 + (-y * height)[:, None].remainder(height)
        turn = (seconds * weather.TURNS_PER_SECOND).long() % len(veil.tiles)
        tiles = veil.tiles[turn] if len(veil.tiles) > 1 else veil.tiles.expand(frames, -1, -1)
        cover = F.grid_sample(
            tiles[:, None], _grid(columns / width - 1, rows / height - 1, canvas.device), align_corners=False
        )
        canvas.lerp_(canvas.new_tensor(veil.colour)[:, None, None], veil.opacity * cover)


def _grid(columns: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """Sampling positions [F h w 2] of columns [F w] and rows [F h]."""
    grid = torch.empty(*rows.shape, columns.shape[1], 2, device=device)
    grid[..., 0] = columns.to(device)[:, None, :]
    grid[..., 1] = rows.to(device)[:, :, None]
    return grid


def _cover(below: Tensor, above: Tensor) -> None:
    """Premultiplied RGBA [... 4 H W] over RGB or RGBA, in place."""
    channels = below.shape[-3]
    below.mul_(1 - above[..., 3:, :, :]).add_(above[..., :channels, :, :])


def _soften(alpha: Tensor, height: int) -> Tensor:
    """A soft shadow [F 1 h w] of a cover, a little below it and to the right."""
    radius = max(1, round(0.02 * height))
    coarse = F.avg_pool2d(alpha, 2 * radius, stride=radius, padding=radius)
    soft = F.interpolate(coarse, alpha.shape[-2:], mode="bilinear", align_corners=True)
    return F.pad(soft, (radius, -radius, radius, -radius))


@lru_cache(maxsize=64)
def _gain(style: styles.AnyStyle, light: Light, size: tuple[int, int], device: str) -> Tensor:
    """From colours in 0..1 to bytes [3 H W]: the lamp's falloff and the fixed grain of the paper."""
    noise = torch.randn(1, 1, size[0] + 2, size[1] + 2, generator=torch.Generator().manual_seed(0))
    grain = 0.25 * noise[0, 0, 1:-1, 1:-1] + 0.75 * F.avg_pool2d(noise, 3, stride=1)[0, 0]
    return (255 * falloff(light, *size) * (1 + styles.GRAIN[style] * grain.clamp(-1, 1))).to(device)
