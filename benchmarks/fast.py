"""What a fast video loses and gains, on nano: `python benchmarks/fast.py`.

Every way makes the same prompts from the same seeds. PSNR is against the exact video, over all frames, the mean and the
worst prompt; `right` is the share of told facts (subject's colour, size and motion, and the camera) that the analytic
judge of `piying evaluate` sees in the clip. Ways: as many steps asked as `--leaps` say (see sampling/reuse.py); simply
fewer steps; no guidance outside of the middle half of them, as others do; and weights of eight bits. Beside the table
pictures, one for each prompt: a row of frames for each way.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import table
import torch
from PIL import Image
from torch import Tensor

import piying
from piying import generate
from piying.config import Speed, Weights
from piying.evaluate import analytic, fidelity
from piying.evaluate.court import cast
from piying.evaluate.prompts import Case, prompts
from piying.predict import guided
from piying.request import FullRequest, Request
from piying.sampling import reuse

COLUMNS = {
    "way": "", "sampler": "", "rows asked": ".2f", "seconds": ".1f", "PSNR": ".1f", "worst": ".1f", "right": ".2f",
    "clips": "d",
}  # fmt: skip
SHOWN = 6  # frames of a clip in the pictures
SAMPLERS = ("ddim", "dpm")


@dataclass(frozen=True)
class Way:
    """One way to make the clips."""

    name: str
    speed: Speed = "exact"
    steps: int | None = None  # where other than the exact ones
    leap: int = reuse.LEAP
    half_guided: bool = False
    weights: Weights = "full"

    def rows(self, steps: int) -> float:
        """Its share of the exact one's work: rows of the guided pair, over all steps."""
        if self.speed == "fast":
            return sum(reuse.asked(steps, self.leap)) / steps
        if self.half_guided:
            return sum(2 if middle(step, steps) else 1 for step in range(steps)) / (2 * steps)
        return (self.steps or steps) / steps

    @contextmanager
    def set_up(self) -> Iterator[None]:
        """The parts of the package that this way replaces."""
        before = reuse.asked, generate.guided
        reuse.asked = partial(reuse.asked, leap=self.leap)  # type: ignore[assignment]
        if self.half_guided:
            generate.guided = guided_in_the_middle
        try:
            yield
        finally:
            reuse.asked, generate.guided = before


def middle(step: int, steps: int) -> bool:
    return steps // 4 <= step < steps - steps // 4


def guided_in_the_middle(ask: Callable[[Tensor, int], Tensor], request: FullRequest) -> Callable[[Tensor, int], Tensor]:
    """Guidance in the middle half of the steps; the rest follows the prompt alone."""
    whole, step = guided(ask, request), iter(range(request.steps))

    def predict_v(x: Tensor, timestep: int) -> Tensor:
        return whole(x, timestep) if middle(next(step), request.steps) else ask(x, timestep)[-1]

    return predict_v


def ways(steps: int, leaps: list[int]) -> Iterator[Way]:
    yield Way("exact")
    for leap in leaps:
        share = sum(reuse.asked(steps, leap))
        yield Way(f"fast, leaps of 1/{leap}: {share} of {steps} steps asked", "fast", leap=leap)
    fewer = sum(reuse.asked(steps))
    yield Way(f"{fewer} steps", steps=fewer)
    yield Way("guidance in the middle half", half_guided=True)
    yield Way("int8 weights", weights="int8")
    yield Way("fp8 weights", weights="fp8")


class Studio:
    """The clips of each way, and those that the exact one made."""

    def __init__(self, cases: list[Case], sampler: str, given: argparse.Namespace) -> None:
        self.cases, self.sampler, self.given = cases, sampler, given
        self.exact: list[np.ndarray] = []
        self.strips: list[list[np.ndarray]] = [[] for _ in cases]

    def film(self, way: Way) -> table.Row:
        given = self.given
        model = piying.load(given.model, device=given.device, weights=way.weights)
        clips, seconds = [], 0.0
        with way.set_up():
            for case in self.cases:
                request = Request(
                    prompt=case.caption, seed=case.scene.seed, steps=way.steps or given.steps, frames=given.frames,
                    sampler=self.sampler, speed=way.speed,
                )  # fmt: skip
                began = time.perf_counter()
                clips.append(model.make(request)[0].frames)
                seconds += time.perf_counter() - began
        self.exact = self.exact or clips
        for strip, clip in zip(self.strips, clips, strict=True):
            places = np.linspace(0, len(clip) - 1, min(SHOWN, len(clip))).round().astype(int)
            strip.append(np.concatenate(list(clip[places]), axis=1))
        row: table.Row = {"rows asked": way.rows(given.steps), "seconds": seconds / len(clips), "clips": len(clips)}
        row["right"] = self.right(clips)
        if clips is not self.exact:
            each = [psnr(clip, exact) for clip, exact in zip(clips, self.exact, strict=True)]
            row |= {"PSNR": statistics.mean(each), "worst": min(each), "each": each}
            row["bar"] = f"{way.name}, {self.sampler}"
        return row

    def right(self, clips: list[np.ndarray]) -> float:
        """The share of told facts that the judge sees."""
        stacked = torch.from_numpy(np.stack(clips))
        sights = analytic.look(stacked, [cast(case.told) for case in self.cases])
        answers = [(case.told[key], seen) for case, sight in zip(self.cases, sights, strict=True)
                   for key, seen in sight.answers(case.told).items()]  # fmt: skip
        return sum(told == seen for told, seen in answers) / len(answers)

    def show(self, folder: Path) -> None:
        """A picture for each prompt, in the order of the table."""
        for place, strip in enumerate(self.strips):
            Image.fromarray(np.concatenate(strip)).save(folder / f"fast-{self.sampler}-{place}.png")


def psnr(clip: np.ndarray, exact: np.ndarray) -> float:
    """Of a whole clip in dB; 100 where nothing differs."""
    return min(fidelity.psnr(*(torch.from_numpy(frames).flatten(0, 1)[None] for frames in (clip, exact))).item(), 100.0)


def main() -> int:
    parser = table.options(__doc__, minutes=60)
    parser.add_argument("--model", default="nano", help="nano, or another model of the theatre")
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--leaps", type=lambda text: [int(part) for part in text.split(",")], default=[3, 4, 5, 8])
    parser.add_argument("--samplers", type=lambda text: text.split(","), default=list(SAMPLERS))
    given: Any = table.parse(parser)
    if given.toy:
        given.steps, given.frames = min(given.steps, 8), given.frames or 9
    cases = [case for case in prompts(6 * given.prompts)[::2] if case.group == "seen"][: given.prompts]
    title = f"nano, {given.steps} steps, {given.prompts} prompts of one subject: quality against the exact video."
    rows = table.Table("fast", title, COLUMNS, given.out, torch.device(given.device), bars=("bar", "PSNR"), ours="fast")
    for sampler in given.samplers:
        studio = Studio(cases, sampler, given)
        for way in ways(given.steps, given.leaps):
            if rows.time_is_up(given.minutes):
                break
            rows.attempt({"way": way.name, "sampler": sampler}, partial(studio.film, way))
            studio.show(given.out)
    print(rows.markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
