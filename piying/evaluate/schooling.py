"""What the detectors learn: first from single pictures what stands still, then from clips what moves.

`python -m piying.evaluate.schooling --model nano` draws all that they see; fifteen minutes of one H200 and 22 cores.
"""

import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from piying import device as devices
from piying.errors import PiyingError
from piying.evaluate.detectors import WEIGHTS, write
from piying.evaluate.fidelity import reconstruct
from piying.evaluate.jitter import jitter
from piying.evaluate.looks import CANVAS, LOOKS, pictures, subsample
from piying.evaluate.network import Glance, Network, Views
from piying.evaluate.sight import ACTOR, ALL_STYLES, CAST, COLOURLESS, MOTIONS, SCENE
from piying.models.vae import VAE
from piying.theatre import casting
from piying.theatre.ahead import Job, draw_ahead
from piying.theatre.scene import CAMERAS, FRAMES, Scene
from piying.weights import load

SEEDS = 1 << 50  # of scenes: beyond those of training and of evaluation
WAITING = 128  # jobs that may be drawn before they are learned
STRIDE, TAKEN = 6, 8  # of a clip through the VAE: frames between the pictures that are taken of it, and their number


@dataclass(frozen=True)
class Phase:
    """A part of the training; each round sees new scenes a few times."""

    name: str
    looks: int  # at each of the scenes
    rounds: int
    scenes: int  # of a round, or pictures of them
    passes: int
    batch: int
    rate: float  # of learning, at its height
    job: int  # scenes, or pictures of them, that a core draws at a time
    trial: int  # scenes never learned, on which each round is tried


PICTURES = Phase("pictures", 1, rounds=36, scenes=4096, passes=8, batch=128, rate=1.5e-3, job=64, trial=512)
CLIPS = Phase("clips", LOOKS, rounds=20, scenes=1024, passes=3, batch=32, rate=6e-4, job=16, trial=256)


class Targets(NamedTuple):
    """The truth about N scenes or pictures; -100 where there is nothing to see."""

    cast: Tensor  # [N 3] whom the values of a mask stand for: 0 nobody, 1+ a subject
    presence: Tensor  # [N S] 0 or 1
    actor: dict[str, Tensor]  # attribute -> [N S]
    scene: dict[str, Tensor]  # attribute -> [N]

    def of(self, chosen: Tensor) -> "Targets":
        actor = {name: answers[chosen] for name, answers in self.actor.items()}
        scene = {name: answers[chosen] for name, answers in self.scene.items()}
        return Targets(self.cast[chosen], self.presence[chosen], actor, scene)


def train(
    out: Path = WEIGHTS,
    *,
    device: str = "cpu",
    minutes: float | None = None,
    seed: int = 0,
    phases: Sequence[Phase] = (PICTURES, CLIPS),
    model: str | Path | None = None,
    on_event: Callable[[str], None] = print,
) -> bool:
    """Train the detectors on rendered theatre, half of it through the VAE of `model`, and write them to `out`.

    First the eye learns from single pictures, each of a scene of its own; then the course learns from clips what moves
    in them, and the eye stays as it is. A round sees new scenes a few times, says what is right in scenes that were
    never learned, and leaves its state beside `out`; a stopped training goes on from the last round. Returns False if
    `minutes` ran out first. Raises ModelMissing.
    """
    began = time.monotonic()
    torch.manual_seed(seed)
    network = Network().to(device)
    vae = load(model, device=device).vae if model else None
    state, done = out.with_suffix(".state"), 0
    rounds = [(phase, number) for phase in phases for number in range(phase.rounds)]
    saved = torch.load(state, map_location=device, weights_only=True) if state.exists() else None
    if saved:
        network.load_state_dict(saved["network"])
        done = saved["rounds"]
    plan = [lessons(seed, phase, number, vae is not None) for phase, number in rounds[done:]]
    trials = {phase: trial(seed, phase) for phase, _ in rounds[done:]}
    jobs = [job for jobs in (*trials.values(), *plan) for job in jobs]
    drawn = draw_ahead(jobs, CANVAS, WAITING, masked=True)

    def seen(phase: Phase, jobs: Sequence[Job], vae: VAE | None) -> tuple[Tensor, Targets]:
        clips = torch.cat([taken(phase, job, next(drawn).to(device), vae) for job in jobs])
        return clips, targets([scene for job in jobs for scene in shown(phase, job)], device)

    held_out = {phase: seen(phase, jobs, None) for phase, jobs in trials.items()}
    optimizer: torch.optim.Optimizer | None = None
    for (phase, number), jobs in zip(rounds[done:], plan, strict=True):
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            return False
        if optimizer is None or number == 0:
            optimizer = torch.optim.AdamW(learner(network, phase).parameters(), lr=phase.rate, weight_decay=0.02)
            if saved and number > 0:
                optimizer.load_state_dict(saved["optimizer"])
        clips, truth = seen(phase, jobs, vae)
        generator = torch.Generator(device).manual_seed(random.Random(f"{phase.name} {seed} {number}").getrandbits(48))
        loss = study(network, optimizer, phase, clips, truth, generator, number / phase.rounds, 1 / phase.rounds)
        done += 1
        torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "rounds": done}, state)
        found = accuracy(network, phase, *held_out[phase])
        on_event(
            f"detectors: {phase.name}, round {number + 1} of {phase.rounds}, {time.monotonic() - began:.0f} s, loss "
            f"{loss:.3f}; right: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in found.items())
        )
    write(network, out)
    state.unlink(missing_ok=True)
    return True


def learner(network: Network, phase: Phase) -> nn.Module:
    """The part that learns in a phase; the other is at rest."""
    network.eye.train(phase.looks == 1).requires_grad_(phase.looks == 1)
    network.course.train(phase.looks > 1)
    return network.eye if phase.looks == 1 else network.course


def lessons(seed: int, phase: Phase, number: int, whole: bool) -> list[Job]:
    """What a round draws; for the VAE, every other job is of whole clips, not only of what is looked at."""
    rng = random.Random(f"detectors {seed} {phase.name} {number}")
    return [_job(rng, phase, phase.job, whole and i % 2 == 1) for i in range(-(-phase.scenes // phase.job))]


def trial(seed: int, phase: Phase) -> list[Job]:
    """Scenes on which a phase is tried, of seeds that no lesson has."""
    rng = random.Random(f"detectors {seed} {phase.name} trial")
    return [_job(rng, phase, phase.job, False) for _ in range(-(-phase.trial // phase.job))]


def _job(rng: random.Random, phase: Phase, count: int, whole: bool) -> Job:
    if whole and phase.looks == 1:
        count = -(-count // TAKEN)
    scenes = [casting.draw(rng, "any", cast=CAST, styles=ALL_STYLES, pairs=casting.LEARNED_PAIRS) for _ in range(count)]
    scenes = [replace(scene, seed=SEEDS + scene.seed) for scene in scenes]
    if whole:
        return Job(scenes, FRAMES)
    return Job(scenes, FRAMES, [[rng.randrange(FRAMES)] for _ in scenes]) if phase.looks == 1 else Job(scenes, LOOKS)


def shown(phase: Phase, job: Job) -> list[Scene]:
    """The scene of each clip or picture that is taken of a job."""
    each = TAKEN if phase.looks == 1 and job.moments is None else 1
    return [scene for scene in job.scenes for _ in range(each)]


def taken(phase: Phase, job: Job, clips: Tensor, vae: VAE | None) -> Tensor:
    """What is looked at of a job, whole clips through the VAE. uint8 [B F H W 4] -> [N T H W 4]."""
    if job.moments is None and job.frames == FRAMES:
        if vae is not None:
            clips = torch.cat([reconstruct(vae, clips[..., :3]), clips[..., 3:]], dim=-1)
        if phase.looks == 1:
            starts = [scene.seed % (FRAMES - STRIDE * (TAKEN - 1)) for scene in job.scenes]
            taken = [clip[start::STRIDE][:TAKEN] for clip, start in zip(clips, starts, strict=True)]
            return torch.cat(taken)[:, None]
    return clips if phase.looks == 1 else subsample(clips)


def study(
    network: Network,
    optimizer: torch.optim.Optimizer,
    phase: Phase,
    clips: Tensor,
    truth: Targets,
    generator: torch.Generator,
    begin: float,
    share: float,
) -> float:
    """A few passes over clips uint8 [N T H W 4]; `begin` and `share` place them in the phase. -> mean loss."""
    orders = [torch.randperm(len(clips), generator=generator, device=clips.device) for _ in range(phase.passes)]
    batches = [chosen for order in orders for chosen in order.split(phase.batch)]
    total = torch.zeros((), device=clips.device)
    for step, chosen in enumerate(batches):
        progress = begin + share * step / len(batches)
        for group in optimizer.param_groups:
            group["lr"] = phase.rate * min(1.0, 20 * progress + 0.02, 2 * (1 - progress))
        x, masks, mirrored = jitter(clips[chosen], generator)
        answers = truth.of(chosen)
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=clips.is_cuda):
            if phase.looks == 1:
                loss = naming(network.eye(x.flatten(0, 1)), masks.flatten(0, 1), answers)
            else:
                with torch.no_grad():
                    glance = network.eye(x.flatten(0, 1))
                camera, motion = network.course(glance, x.shape[1])
                loss = following(camera, motion, mirror(answers, mirrored))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
        optimizer.step()
        total += loss.detach()
    return float(total / len(batches))


def targets(scenes: Sequence[Scene], device: str) -> Targets:
    """The truth about rendered scenes."""
    cast = torch.zeros(len(scenes), 3, dtype=torch.long)
    presence = torch.zeros(len(scenes), len(CAST))
    actor = {name: torch.full(presence.shape, -100) for name in ACTOR}
    for clip, scene in enumerate(scenes):
        for number, puppet in enumerate(scene.actors, 1):
            subject = CAST.index(puppet.subject)
            cast[clip, number] = 1 + subject
            presence[clip, subject] = 1
            for name, values in ACTOR.items():
                if name != "colour" or scene.style not in COLOURLESS:
                    actor[name][clip, subject] = values.index(getattr(puppet, name))
    facts = {
        name: torch.tensor([values.index(getattr(scene, name)) for scene in scenes], device=device)
        for name, values in SCENE.items()
    }
    actor = {name: value.to(device) for name, value in actor.items()}
    return Targets(cast.to(device), presence.to(device), actor, facts)


def mirror(truth: Targets, mirrored: Tensor) -> Targets:
    """The truth where clips are mirrored [N]: left is right."""

    def swapped(answers: Tensor, values: Sequence[str], left: str, right: str) -> Tensor:
        first, second = values.index(left), values.index(right)
        other = torch.where(answers == first, second, torch.where(answers == second, first, answers))
        return torch.where(mirrored.view(-1, *[1] * (answers.ndim - 1)), other, answers)

    motion = swapped(truth.actor["motion"], MOTIONS, "left", "right")
    camera = swapped(truth.scene["camera"], CAMERAS, "pan_left", "pan_right")
    return truth._replace(actor={**truth.actor, "motion": motion}, scene={**truth.scene, "camera": camera})


def naming(glance: Glance, masks: Tensor, truth: Targets) -> Tensor:
    """The loss of the eye in pictures; masks [N H W]."""
    total = 3 * marking(glance.cells.float(), masks, truth.cast)
    total = total + 10 * F.binary_cross_entropy_with_logits(glance.presence.float(), truth.presence)
    total = total + answering(glance.colour, truth.actor["colour"]) + answering(glance.size, truth.actor["size"])
    for name, logits in glance.scene.items():
        total = total + answering(logits, truth.scene[name])
    return total


def following(camera: Tensor, motion: Tensor, truth: Targets) -> Tensor:
    """The loss of the course in clips."""
    return answering(camera, truth.scene["camera"]) + answering(motion, truth.actor["motion"])


def answering(logits: Tensor, answers: Tensor) -> Tensor:
    """The mean cross-entropy of what can be seen. [N ... values], [N ...]."""
    seen = (answers >= 0).sum().clamp(min=1)
    return F.cross_entropy(logits.float().flatten(0, -2), answers.flatten(), reduction="sum") / seen


def marking(cells: Tensor, masks: Tensor, cast: Tensor) -> Tensor:
    """The cross-entropy of who is in each cell; cells that are wholly an actor's count ten times as much as empty ones.

    cells [N 1+S h w] logits, masks [N H W], cast [N 3].
    """
    size = masks.shape[-1] // cells.shape[-1]
    layers = F.avg_pool2d(torch.stack([masks == value for value in range(3)], dim=1).float(), size)  # [N 3 h w]
    shares = torch.zeros_like(cells).scatter_add_(1, cast[:, :, None, None].expand_as(layers), layers)
    errors = F.cross_entropy(cells, shares, reduction="none")
    weights = 10 - 9 * shares[:, 0]
    return (weights * errors).sum() / weights.sum()


@torch.inference_mode()
def accuracy(network: Network, phase: Phase, clips: Tensor, truth: Targets) -> dict[str, float]:
    """How often each attribute that a phase learns, and those before it, is right in clips uint8 [N T H W 4]."""
    modes = [(part, part.training) for part in (network.eye, network.course)]
    network.eval()
    right: dict[str, list[Tensor]] = {}
    index = torch.arange(len(clips), device=clips.device)
    for chosen in index.split(phase.batch):
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=clips.is_cuda):
            views = network(pictures(clips[chosen][..., :3]))
        answers = truth.of(chosen)
        for name, found in _right(views, answers).items():
            if phase.looks > 1 or name not in ("motion", "camera"):
                right.setdefault(name, []).append(found)
    for part, mode in modes:
        part.train(mode)
    return {name: float(torch.cat(found).float().mean()) for name, found in right.items()}


def _right(views: Views, truth: Targets) -> dict[str, Tensor]:
    """Attribute -> whether each answer is right; of actors, of those that are there."""
    belief = views.presence.float().mean(2)
    there = truth.presence > 0
    last = belief.sort(dim=1, descending=True).values.gather(1, there.sum(1, keepdim=True) - 1)
    found = {"subject": (belief >= last)[there]}
    logits = {"colour": views.colour.float().mean(2), "size": views.size, "motion": views.motion}
    for name, values in logits.items():
        asked = truth.actor[name] >= 0
        found[name] = values.argmax(-1)[asked] == truth.actor[name][asked]
    for name, answers in truth.scene.items():
        found[name] = views.scene[name].argmax(-1) == answers
    return found


def main(
    out: Annotated[
        Path, typer.Option(help="Where the weights are written; the training's state lies beside.")
    ] = WEIGHTS,
    device: Annotated[str | None, typer.Option(help="cpu, mps or cuda; else the best that is here.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop cleanly after so long; the same command goes on.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="nano, or the folder of another model of the theatre whose VAE a part goes through."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the scenes and of the weights.")] = 0,
) -> None:
    """Train the detectors, the judge of `piying evaluate` that learned rendered theatre."""
    try:
        done = train(out, device=devices.choose(device), minutes=minutes, seed=seed, model=model)
    except PiyingError as error:
        print(f"detectors: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    print(out if done else f"{out}: not yet, the same command goes on")


if __name__ == "__main__":
    typer.run(main)
