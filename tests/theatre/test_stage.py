"""What the renderer promises, measured on its pixels."""

import math
import random
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from piying.theatre import Actor, Scene, casting, render
from piying.theatre.figures.looks import COLOURS as PALETTE
from piying.theatre.motion import track
from piying.theatre.scene import BACKDROPS, CAMERAS, COLOURS, LIGHTS, MOTIONS, STYLES, UNSEEN_STYLES, WEATHERS

FRAMES = 25
HEIGHT, WIDTH = 96, 144


def scene(subject="car", colour="red", motion="still", size="small", **facts) -> Scene:
    return Scene(actors=(Actor(subject=subject, colour=colour, size=size, motion=motion),), **facts)


def clip(scene: Scene, frames: int = FRAMES) -> tuple[Tensor, Tensor]:
    drawing = render([scene], frames=frames)
    return drawing.frames[0], drawing.masks[0]


def path(mask: Tensor) -> tuple[Tensor, Tensor]:
    """The centroid of an actor's pixels: x [F], y [F] in pixels."""
    cover = mask.float()
    y, x = torch.meshgrid(torch.arange(mask.shape[1]), torch.arange(mask.shape[2]), indexing="ij")
    count = cover.sum((1, 2))
    return (cover * x).sum((1, 2)) / count, (cover * y).sum((1, 2)) / count


def lean(mask: Tensor) -> Tensor:
    """The direction [F] of the long axis of an actor's pixels, clockwise, unwrapped, radians."""
    x, y = path(mask)
    rows, columns = torch.meshgrid(torch.arange(mask.shape[1]), torch.arange(mask.shape[2]), indexing="ij")
    dx, dy = columns - x[:, None, None], rows - y[:, None, None]
    cover = mask.float()
    xx, yy, xy = ((cover * moment).sum((1, 2)) for moment in (dx * dx, dy * dy, dx * dy))
    angle = 0.5 * torch.atan2(2 * xy, xx - yy)
    steps = torch.remainder(angle.diff() + math.pi / 2, math.pi) - math.pi / 2
    return torch.cat((angle[:1], angle[:1] + steps.cumsum(0)))


def flow(frames: Tensor, mask: Tensor, axis: int) -> float:
    """How far the ground goes in all, in pixels along rows (0) or columns (1): block matching from frame to frame."""
    grey, free = frames.float().mean(-1), mask == 0
    band = slice(70, 92) if axis else slice(0, HEIGHT)
    total = 0
    for f in range(len(grey) - 1):
        costs = {}
        for shift in range(-8, 9):
            now, then = grey[f + 1].roll(-shift, axis), grey[f]
            both = (free[f] & free[f + 1].roll(-shift, axis))[band, 8:-8] if axis else (free[f] & free[f + 1])[8:-8]
            gap = (now - then)[band, 8:-8] if axis else (now - then)[8:-8]
            costs[shift] = float(gap[both].square().mean())
        total += min(costs, key=costs.get)
    return total


def test_the_same_scene_gives_the_same_bytes_and_another_seed_another_picture():
    one, again, other = (render([scene(weather="snow", seed=seed)], frames=5) for seed in (3, 3, 4))
    assert torch.equal(one.frames, again.frames) and torch.equal(one.masks, again.masks)
    assert not torch.equal(one.frames, other.frames)


def test_a_scene_gives_the_same_clip_alone_and_among_others():
    scenes = [scene(seed=1), scene("fish", "blue", "left", backdrop="sea", style="ink", seed=2), scene(seed=3)]
    together = render(scenes, frames=5)
    for i, alone in enumerate(render([one], frames=5) for one in scenes):
        assert torch.equal(together.frames[i], alone.frames[0])
        assert torch.equal(together.masks[i], alone.masks[0])


@pytest.mark.parametrize("seed", range(24))
def test_a_picture_is_the_frame_of_the_clip_that_has_it(seed):
    scene = casting.draw(random.Random(f"moments {seed}"), "any")
    whole, moments = render([scene], frames=FRAMES), [seed, (7 * seed) % FRAMES]
    for shown in (moments, moments[:1]):
        drawing = render([scene], frames=FRAMES, moments=[shown])
        assert torch.equal(drawing.frames, whole.frames[:, shown])
        assert torch.equal(drawing.masks, whole.masks[:, shown])


@pytest.mark.parametrize("size", [(64, 64), (48, 96), (96, 48)])
def test_any_canvas_is_filled(size):
    drawing = render([scene(motion="circle", camera="zoom_out", weather="rain")], frames=4, size=size)
    assert drawing.frames.shape == (1, 4, *size, 3) and drawing.frames.dtype == torch.uint8
    assert drawing.masks.shape == (1, 4, *size) and drawing.masks.dtype == torch.uint8
    assert (drawing.masks == 1).flatten(2).any(-1).all()


def test_the_theatre_is_imported_without_torch():
    code = "import sys, piying.theatre; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("camera", ["still", "pan_left", "pan_right"])
@pytest.mark.parametrize("motion", ["left", "right"])
def test_a_traveller_goes_its_way_relative_to_the_ground(motion, camera):
    frames, mask = clip(scene("car", motion=motion, backdrop="mountains", camera=camera, seed=5))
    x, _ = path(mask)
    way = float(x[-1] - x[0]) - flow(frames, mask, axis=1)
    assert way * (1 if motion == "right" else -1) > 0.25 * WIDTH


@pytest.mark.parametrize("camera", ["still", "pan_left", "pan_right"])
def test_one_who_stands_still_keeps_its_place_on_the_ground(camera):
    frames, mask = clip(scene("dog", backdrop="mountains", camera=camera, seed=6))
    x, _ = path(mask)
    assert abs(float(x[-1] - x[0]) - flow(frames, mask, axis=1)) < 0.04 * WIDTH


@pytest.mark.parametrize("motion, sign", [("rise", -1), ("sink", 1)])
def test_rising_goes_up_and_sinking_down(motion, sign):
    x, y = path(clip(scene("balloon", motion=motion, size="large", seed=7))[1])
    assert sign * float(y[-1] - y[0]) > 0.3 * HEIGHT
    assert float(x.max() - x.min()) < 2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_jumper_leaves_the_ground_two_or_three_times(seed):
    _, y = path(clip(scene("cat", motion="jump", seed=seed), frames=49)[1])
    aloft = y < (y.min() + y.max()) / 2
    assert float(y.max() - y.min()) > 0.15 * HEIGHT
    assert int((aloft[1:] & ~aloft[:-1]).sum()) in (2, 3)


def test_a_circle_goes_round():
    x, y = path(clip(scene("balloon", motion="circle", seed=8), frames=49)[1])
    x, y = x - (x.max() + x.min()) / 2, y - (y.max() + y.min()) / 2
    turn = torch.atan2(y, x)
    turned = (torch.remainder(turn.diff() + math.pi, math.tau) - math.pi).sum()
    assert abs(float(turned)) > 0.9 * math.tau
    assert float(torch.hypot(x, y).min()) > 0.1 * HEIGHT


def test_a_spinner_turns_about_itself_and_a_swayer_leans_to_and_fro():
    turning = lean(clip(scene("train", motion="spin", seed=9), frames=49)[1])
    assert abs(float(turning[-1] - turning[0])) > 0.9 * math.tau
    swaying = lean(clip(scene("train", motion="sway", seed=9), frames=49)[1])
    assert 0.2 < float(swaying.max() - swaying.min()) < 1.0
    x, y = path(clip(scene("balloon", motion="spin", seed=9))[1])
    assert float(torch.hypot(x - x.mean(), y - y.mean()).max()) < 0.05 * HEIGHT


def test_a_spinner_turns_once_and_clockwise_whichever_way_it_faces():
    courses = [track(scene("car", motion="spin", seed=seed)) for seed in range(8)]
    assert {int(course.facing[0]) for course in courses} == {-1, 1}
    assert all(torch.allclose(course.angle[0], math.tau * torch.linspace(0, 1, 49)) for course in courses)


def test_a_traveller_faces_its_way():
    shapes = {}
    for motion in ("left", "right"):
        _, mask = clip(scene("horse", motion=motion, seed=10), frames=3)
        rows, columns = (mask[1].any(axis).nonzero() for axis in (1, 0))
        body = mask[1, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].float()
        shapes[motion] = F.interpolate(body[None, None], (40, 50), mode="area")[0, 0] > 0.5

    def overlap(a: Tensor, b: Tensor) -> float:
        return float((a & b).sum() / (a | b).sum())

    assert overlap(shapes["left"].flip(1), shapes["right"]) > overlap(shapes["left"], shapes["right"]) + 0.1


@pytest.mark.parametrize("camera, axis, sign", [("pan_left", 1, 1), ("pan_right", 1, -1), ("tilt_up", 0, 1)])
def test_a_moving_camera_moves_the_backdrop_the_other_way(camera, axis, sign):
    frames, mask = clip(scene(backdrop="room", camera=camera, seed=11))
    assert sign * flow(frames, mask, axis) > (0.2 * WIDTH if axis else 0.12 * HEIGHT)


def test_what_is_farther_moves_less_as_the_camera_pans():
    frames, mask = clip(scene("boat", backdrop="meadow", camera="pan_right", seed=12))
    sky, ground = frames[:, :25].float(), frames[:, 75:90].float()
    assert (sky[0] - sky[-1]).abs().mean() > 0
    shifted = {
        s: float((sky[0, :, 20:-20] - sky[-1, :, 20 + s : WIDTH - 20 + s]).square().mean()) for s in range(-20, 20)
    }
    assert -12 < min(shifted, key=shifted.get) < 0
    assert flow(frames, mask, 1) < -30 and ground.std() > 0


@pytest.mark.parametrize("camera, ratio", [("zoom_in", 1.45), ("zoom_out", 1 / 1.45)])
def test_a_zoom_scales_the_picture(camera, ratio):
    frames, mask = clip(scene("balloon", motion="still", backdrop="room", camera=camera, seed=13))
    area = (mask == 1).sum((1, 2)).float()
    assert float((area[-1] / area[0]).sqrt()) == pytest.approx(ratio, rel=0.06)
    small, big = (frames[0], frames[-1]) if ratio > 1 else (frames[-1], frames[0])
    small, big = (picture.permute(2, 0, 1)[None].float() for picture in (small, big))
    zoomed = F.interpolate(small, scale_factor=1.3, mode="bilinear")
    top, left = (zoomed.shape[2] - HEIGHT) // 2, (zoomed.shape[3] - WIDTH) // 2
    zoomed = zoomed[:, :, top : top + HEIGHT, left : left + WIDTH]
    assert (zoomed - big).abs().mean() < 0.8 * (small - big).abs().mean()


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("motion", MOTIONS)
def test_the_actor_stays_in_the_frame(motion, camera):
    _, mask = clip(scene("car", motion=motion, size="large", camera=camera, seed=14), frames=9)
    s = torch.linspace(-0.5, 0.5, 9)
    zoom = 1.45 ** {"zoom_in": s, "zoom_out": -s}.get(camera, 0 * s)
    area = (mask == 1).sum((1, 2)) / zoom**2
    assert float(area.min() / area.max()) > 0.75


@pytest.mark.parametrize("style", ["paper", "cartoon", "ink"])
@pytest.mark.parametrize("light", LIGHTS)
def test_the_named_colour_is_the_one_that_is_seen(style, light):
    scenes = [scene("balloon", colour, size="large", light=light, style=style, seed=15) for colour in COLOURS]
    drawing = render(scenes, frames=1)
    palette = torch.tensor([PALETTE[colour] for colour in COLOURS], dtype=torch.float32)
    for i, colour in enumerate(COLOURS):
        seen = drawing.frames[i][drawing.masks[i] == 1].float()
        nearest = torch.cdist(seen, palette).argmin(1).bincount(minlength=len(COLOURS))
        assert COLOURS[int(nearest.argmax())] == colour


def test_places_are_as_different_as_their_names():
    pictures = render([scene(backdrop=backdrop, seed=16) for backdrop in BACKDROPS], frames=1).frames.float()
    profiles = pictures[:, 0].mean(2).flatten(1)  # the mean colour of each row
    gaps = torch.cdist(profiles, profiles) + 1e9 * torch.eye(len(BACKDROPS))
    assert float(gaps.min()) > 120


def test_evening_is_warmer_and_night_darker_in_the_sky_and_on_the_ground():
    drawing = render([scene(backdrop="meadow", light=light, seed=17) for light in LIGHTS], frames=1)
    for band in (slice(0, 30), slice(78, 92)):
        day, dusk, night = drawing.frames[:, 0, band].float().mean((1, 2))
        assert night.mean() < 0.6 * day.mean()
        assert dusk[0] / dusk[2] > 1.25 * day[0] / day[2]


@pytest.mark.parametrize("weather", WEATHERS)
def test_weather_moves_before_a_resting_backdrop_and_clear_air_does_not(weather):
    frames, mask = clip(scene(weather=weather, backdrop="mountains", seed=18), frames=13)
    beside = ~(F.max_pool2d((mask > 0).float().amax(0)[None, None], 15, stride=1, padding=7)[0, 0] > 0)
    change = frames.float().diff(dim=0).abs().mean(-1)[:, beside].mean()
    assert (change == 0) if weather == "clear" else (change > 0.4)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("weather", "least"), [("rain", 75), ("leaves", 110)])  # of 255
def test_rain_and_leaves_stand_out_in_every_style_and_light(weather, least, style):
    for light in LIGHTS:
        frames, _ = clip(scene(weather=weather, style=style, light=light, backdrop="meadow", seed=3), frames=3)
        change = (frames[2].float() - frames[0].float()).abs().amax(-1)
        assert change.flatten().topk(200).values.mean() > least


@pytest.mark.parametrize("weather", ["snow", "leaves"])
def test_snow_and_leaves_fall(weather):
    frames, _ = clip(scene(weather=weather, backdrop="stage", light="night", seed=18), frames=49)
    grey = frames.float().mean(-1)[20:40]
    specks = grey - grey.median(0).values
    likeness = {shift: float((specks[:-1] * specks[1:].roll(-shift, 1)).mean()) for shift in range(-8, 9)}
    assert max(likeness, key=likeness.get) in (2, 3, 4)


def test_styles_keep_their_promises():
    looks = {style: clip(scene("horse", style=style, seed=19), frames=1) for style in (*STYLES, *UNSEEN_STYLES)}
    grey, _ = looks["black_and_white"]
    assert (grey == grey[..., :1]).all()
    frames, mask = looks["shadow"]
    assert frames[mask == 1].float().median() < 60
    screen = frames[0, :30].float().mean((0, 1))
    assert screen[0] > screen[1] > screen[2] and screen.mean() > 120

    def colourfulness(style: str) -> float:
        pixels = looks[style][0].float()
        return float((pixels.amax(-1) - pixels.amin(-1)).mean())

    assert colourfulness("ink") < colourfulness("paper") < colourfulness("cartoon")
    pictures = torch.stack([frames for frames, _ in looks.values()]).float().flatten(1) / 255
    gaps = torch.cdist(pictures, pictures) / math.sqrt(pictures.shape[1]) + torch.eye(len(pictures))
    assert float(gaps.min()) > 0.03


def test_two_actors_are_both_seen_and_each_goes_its_own_way():
    boat, bird = (
        Actor(subject="boat", colour="red", motion="left"),
        Actor(subject="bird", colour="yellow", motion="right"),
    )
    frames, mask = clip(Scene(actors=(boat, bird), backdrop="sea", seed=20))
    for actor, sign, hue in ((1, -1, "red"), (2, 1, "yellow")):
        area = (mask == actor).sum((1, 2))
        assert area.min() > 0.6 * area.max()
        x, _ = path(mask == actor)
        assert sign * float(x[-1] - x[0]) > 0.25 * WIDTH
        median = frames[mask == actor].float().median(0).values
        gaps = {colour: float((median - torch.tensor(rgb)).norm()) for colour, rgb in PALETTE.items()}
        assert min(gaps, key=gaps.get) == hue


def test_a_second_actor_changes_nothing_of_the_backdrop():
    alone = scene(backdrop="forest", seed=21)
    both = replace(alone, actors=(*alone.actors, Actor(subject="fish", colour="blue")))
    (one, mask_one), (two, mask_two) = clip(alone, frames=1), clip(both, frames=1)
    covered = F.max_pool2d(((mask_one > 0) | (mask_two > 0)).float()[:, None], 25, stride=1, padding=12)[:, 0] > 0
    assert torch.equal(one[~covered], two[~covered])


def test_snow_falls_before_the_actors_too():
    def flecks(weather: str) -> float:
        frames, mask = clip(scene("cat", "black", size="large", weather=weather, seed=22))
        return float((frames[mask == 1].amin(-1) > 225).float().mean())

    assert flecks("snow") > flecks("clear") + 0.004
