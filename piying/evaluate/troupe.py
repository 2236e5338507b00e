"""Who of the troupe is in a clip, and what each does there: the troupe's own figures, laid over every look.

No base model has seen the troupe, so no network could be trained beforehand to know it; and the lantern children differ
in their robes' colour, their lanterns and the small emblems alone. What is told is only who to look for besides the
troupe; whoever explains the looks best is the one that is there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from piying.evaluate import flow
from piying.evaluate.analytic import (
    HEIGHTS,
    AnyStyle,
    Found,
    Puppet,
    elsewhere,
    follow,
    motion_of,
    possible_styles,
    search,
    turns_near,
    zooms_of,
)
from piying.evaluate.looks import pictures, subsample
from piying.theatre.casting import ROBES
from piying.theatre.scene import TROUPE, Camera, Motion

NOBODY = "nobody"
FINALISTS = 4  # that are looked at closely
LEAST, LEAST_TOLD = 10.0, 2.0  # belief in one of the troupe who is there; in another puppet, who was told of
LANTERNS: tuple[Puppet, ...] = TROUPE[:7]  # one body in seven robes, under seven lanterns
RIVALS: tuple[Puppet, ...] = ("boy", "girl")  # who of the base's own puppets look most like one of the troupe


@dataclass(frozen=True)
class Seen:
    """A clip; `cast` and `motions` have as many entries as were told of, at least one."""

    cast: tuple[str, ...]  # who is there, the most believed first, or NOBODY
    motions: tuple[Motion, ...]  # of each of them, in the same order; also of the best guess where there is nobody
    beliefs: Mapping[
        Puppet, float
    ]  # of the finalists: mean log likelihood ratio of a look, against nobody's being there
    camera: Camera


@torch.inference_mode()
def look(
    clips: Tensor,
    casts: Sequence[Sequence[Puppet]],
    styles: Sequence[AnyStyle | None],
    among: Sequence[Puppet] = (),
) -> list[Seen]:
    """What is seen in clips uint8 [B F H W 3] of the troupe, its rivals, those told of in `casts`, and `among`.

    `styles` are what is told of each clip's style; None: what its hues allow.
    """
    views = (pictures(subsample(clips)) + 1) / 2
    return [
        _look(clip, list(dict.fromkeys((*cast, *RIVALS, *among))), max(1, len(cast)), style)
        for clip, cast, style in zip(views, casts, styles, strict=True)
    ]


def _look(clip: Tensor, others: Sequence[Puppet], count: int, style: AnyStyle | None) -> Seen:
    """clip [T 3 H W] in 0..1."""
    small = F.avg_pool2d(clip, 2)
    free = torch.ones_like(small[:, 0])  # of puppets found so far, [T H W]
    zooms = zooms_of(len(clip), flow.camera(flow.drift(clip, torch.ones_like(clip[:, 0]))))
    styles = (style,) if style else possible_styles(clip)
    winners: dict[Puppet, Found] = {}
    beliefs: dict[Puppet, float] = {}
    for _ in range(count):
        found = _everyone(small, free, [other for other in others if other not in TROUPE], styles, count, zooms)
        found = {name: track for name, track in found.items() if name not in winners}
        finalists = sorted(found, key=lambda name: -float(found[name].belief.mean()))[:FINALISTS]
        close = {name: _closely(clip, free, name, found[name], zooms) for name in finalists}
        beliefs |= {
            name: max(beliefs.get(name, 0.0), round(float(track.belief.mean()), 2)) for name, track in close.items()
        }
        best = max(close, key=lambda name: float(close[name].belief.mean()))
        winners[best] = close[best]
        free = free * elsewhere(found[best], best, small)
    camera = flow.camera(flow.drift(clip, F.interpolate(free[:, None], scale_factor=2)[:, 0]))
    return Seen(
        tuple(name if beliefs[name] >= (LEAST if name in TROUPE else LEAST_TOLD) else NOBODY for name in winners),
        tuple(motion_of(track, camera, count) for track in winners.values()),
        beliefs,
        camera,
    )


def _everyone(
    looks: Tensor, free: Tensor, others: Sequence[Puppet], styles: Sequence[AnyStyle], count: int, zooms: Tensor
) -> dict[Puppet, Found]:
    """Where each would best be. One search finds the body of the lantern children; each then tries on its own looks."""
    heights = HEIGHTS[count]
    child = search(looks, free, LANTERNS[0], styles, heights, zooms, tuple(ROBES[name] for name in LANTERNS))
    turns = turns_near(child)
    found = {
        name: follow(looks, free, name, replace(child.guess, colour=ROBES[name]), zooms, turns) for name in LANTERNS
    }
    for name in (*TROUPE[len(LANTERNS) :], *others):
        found[name] = search(looks, free, name, styles, heights, zooms)
    return found


def _closely(clip: Tensor, free: Tensor, name: Puppet, found: Found, zooms: Tensor) -> Found:
    """The same at twice the size, where a lantern and a face tell more than a robe. clip [T 3 2H 2W], free [T H W]."""
    guess = replace(found.guess, scale=2 * found.guess.scale)
    return follow(clip, F.interpolate(free[:, None], scale_factor=2)[:, 0], name, guess, zooms, turns_near(found))
