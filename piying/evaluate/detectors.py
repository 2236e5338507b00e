"""The second judge: a small network that learned rendered theatre and its reconstructions, never generated video."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from piying.errors import ModelMissing
from piying.evaluate.jitter import jitter
from piying.evaluate.looks import CANVAS, LOOKS, pictures, subsample
from piying.evaluate.network import Network, Views
from piying.evaluate.sight import ACTOR, COLOURLESS, COLOURS, MOTIONS, SCENE, SIZES, SUBJECTS, Sight
from piying.memory.lend import at_hand
from piying.models.vae import VAE, to_frames, to_pixels
from piying.theatre import casting
from piying.theatre.ahead import Job, draw_ahead
from piying.theatre.scene import FRAMES, Scene
from piying.weights import load

WEIGHTS = Path(__file__).with_name("detectors.safetensors")
WAITING = 64  # batches that may be drawn before they are learned
WINDOWS = 4  # parts of a clip in which a steady puppet stays the same
SEEDS = 1 << 50  # of scenes: beyond those of training and of evaluation
BATCH, PASSES, RATE = 32, 3, 2e-3  # clips in a step, times that a round is seen, learning rate at its height


class Targets(NamedTuple):
    """Truth; -100 where there is nothing to see."""

    cast: Tensor  # [B 3] whom the values of a mask stand for: 0 nobody, 1+ a subject
    presence: Tensor  # [B S] 0 or 1
    actor: dict[str, Tensor]  # attribute -> [B S]
    scene: dict[str, Tensor]  # attribute -> [B]


# Judging


def read(path: Path = WEIGHTS, device: str = "cpu") -> Network:
    """The trained network. Raises ModelMissing if it was never trained."""
    if not path.exists():
        raise ModelMissing(f"{path}: no detectors; train them with piying.evaluate.detectors.train")
    state = load_file(path)
    network = Network(width=state["cells.weight"].shape[1])
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return network.to(device).eval()


@torch.inference_mode()
def look(network: Network, clips: Tensor) -> list[Sight]:
    """What the network sees. clips uint8 [B F H W 3]."""
    views = network(pictures(subsample(clips).to(network.presence.weight.device)))
    facts = {name: logits.cpu() for name, logits in views.scene.items()}
    return sights(
        Views(views.cells.cpu(), views.presence.cpu(), views.colour.cpu(), views.size.cpu(), views.motion.cpu(), facts)
    )


def sights(views: Views) -> list[Sight]:
    """Logits to names, clip by clip."""
    presence = windows(views.presence)  # [B S windows]
    colour = windows(views.colour)  # [B S windows 9]
    found = []
    for clip in range(len(presence)):
        belief = presence[clip].mean(dim=1)
        first, second = belief.topk(2).indices.tolist()
        actors = {
            SUBJECTS[subject]: {
                "colour": COLOURS[colour[clip, subject].mean(dim=0).argmax()],
                "size": SIZES[views.size[clip, subject].argmax()],
                "motion": MOTIONS[views.motion[clip, subject].argmax()],
            }
            for subject in (first, second)
        }
        scene = {name: SCENE[name][logits[clip].argmax()] for name, logits in views.scene.items()}
        cast = [first, second] if belief[second] > 0 else [first]
        same_subjects = all(set(part.topk(len(cast)).indices.tolist()) == set(cast) for part in presence[clip].T)
        same_colours = scene["style"] in COLOURLESS or all(
            len(set(colour[clip, subject].argmax(dim=-1).tolist())) == 1 for subject in cast
        )
        found.append(
            Sight(
                actors,
                scene,
                presence=dict(zip(SUBJECTS, [round(value, 3) for value in belief.tolist()], strict=True)),
                steady=same_subjects and same_colours,
            )
        )
    return found


def windows(logits: Tensor) -> Tensor:
    """The mean over each window of frames. [B S T ...] -> [B S windows ...]."""
    return torch.stack([part.mean(dim=2) for part in logits.tensor_split(WINDOWS, dim=2)], dim=2)


# Training


def train(
    out: Path = WEIGHTS,
    *,
    device: str = "cpu",
    minutes: float | None = None,
    seed: int = 0,
    rounds: int = 40,
    clips: int = 1024,
    model: str | Path | None = None,
    on_event: Callable[[str], None] = print,
) -> bool:
    """Train the detectors on rendered theatre, a quarter of it through the VAE of `model`, and write them to `out`.

    A round sees new `clips`, of seeds of its own, a few times, and leaves its state beside `out`; a stopped training
    goes on from the last round. Returns False if `minutes` ran out first. Raises ModelMissing.
    """
    began = time.monotonic()
    torch.manual_seed(seed)
    network = Network().to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.02)
    vae = load(model, device=device).vae if model else None
    state, done = out.with_suffix(".state"), 0
    if state.exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        done = saved["rounds"]
    batches = [batch for number in range(done, rounds) for batch in lessons(seed, number, clips, vae is not None)]
    drawn = draw_ahead(batches, CANVAS, WAITING, masked=True)
    for number in range(done, rounds):
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            return False
        scenes = [scene for batch, _ in lessons(seed, number, clips, vae is not None) for scene in batch]
        seen = torch.cat([_see(next(drawn).to(device), vae) for _ in range(-(-clips // BATCH))])
        generator = torch.Generator(device).manual_seed(random.Random(f"jitter {seed} {number}").getrandbits(48))
        loss = study(network, optimizer, seen, targets(scenes, device), generator, number / rounds, 1 / rounds)
        torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict(), "rounds": number + 1}, state)
        on_event(f"detectors: round {number + 1} of {rounds}, loss {loss:.3f}, {time.monotonic() - began:.0f} s")
    save_file({name: tensor.half().cpu().contiguous() for name, tensor in network.state_dict().items()}, out)
    state.unlink()
    return True


def lessons(seed: int, number: int, clips: int, whole: bool) -> list[Job]:
    """The scenes of a round in batches; for the VAE, every fourth has all frames, not only those that are looked at."""
    rng = random.Random(f"detectors {seed} {number}")
    scenes = [casting.draw(rng, "any") for _ in range(clips)]
    scenes = [replace(scene, seed=SEEDS + scene.seed) for scene in scenes]
    batches = [scenes[start : start + BATCH] for start in range(0, clips, BATCH)]
    return [(batch, FRAMES if whole and i % 4 == 3 else LOOKS) for i, batch in enumerate(batches)]


def _see(clips: Tensor, vae: VAE | None) -> Tensor:
    """What is looked at of a batch, whole clips through the VAE. uint8 [N F H W 4] -> [N 17 H W 4]."""
    if vae is not None and clips.shape[1] == FRAMES:
        clips = torch.cat([reconstruct(vae, clips[..., :3]), clips[..., 3:]], dim=-1)
    return subsample(clips)


@torch.inference_mode()
def reconstruct(vae: VAE, frames: Tensor) -> Tensor:
    """Frames through the VAE and back, on the device of the frames. uint8 [B F H W 3] -> the same."""
    with at_hand(vae, frames.device):
        weight, rebuilt = next(vae.parameters()), []
        for clips in frames.split(8):
            rebuilt.append(to_frames(vae.decode(vae.encode(to_pixels(clips).to(weight))[0])))
    return torch.cat(rebuilt)


def study(
    network: Network,
    optimizer: torch.optim.Optimizer,
    clips: Tensor,
    truth: Targets,
    generator: torch.Generator,
    begin: float,
    share: float,
) -> float:
    """A few passes over clips uint8 [N 17 H W 4]; `begin` and `share` place them in the training. -> last loss."""
    total, value = PASSES * -(-len(clips) // BATCH), 0.0
    orders = [torch.randperm(len(clips), generator=generator, device=clips.device) for _ in range(PASSES)]
    for step, chosen in enumerate(index for order in orders for index in order.split(BATCH)):
        progress = begin + share * step / total
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, 20 * progress + 0.02, 2.5 * (1 - progress))
        shown, masks = jitter(pictures(clips[chosen][..., :3]), clips[chosen][..., 3], generator)
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=clips.is_cuda):
            views = network(shown)
        loss = error(views, masks, truth, chosen)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        value = loss.item()
    return value


def targets(scenes: Sequence[Scene], device: str) -> Targets:
    """The truth about rendered scenes."""
    cast = torch.zeros(len(scenes), 3, dtype=torch.long)
    presence = torch.zeros(len(scenes), len(SUBJECTS))
    actor = {name: torch.full(presence.shape, -100) for name in ACTOR}
    for clip, scene in enumerate(scenes):
        for number, puppet in enumerate(scene.actors, 1):
            subject = SUBJECTS.index(puppet.subject)
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


def error(views: Views, masks: Tensor, truth: Targets, chosen: Tensor) -> Tensor:
    """The sum of all heads' losses; subject and colour are asked for in every window on its own. masks [B T H W]."""
    presence = windows(views.presence.float())
    there = truth.presence[chosen][..., None].expand_as(presence)
    total = marking(views.cells.float(), masks, truth.cast[chosen])
    total = total + 4 * F.binary_cross_entropy_with_logits(presence, there)
    logits = {"colour": windows(views.colour), "size": views.size[:, :, None], "motion": views.motion[:, :, None]}
    for name, values in logits.items():
        answer = truth.actor[name][chosen][..., None].expand(values.shape[:-1])
        seen = (answer >= 0).sum().clamp(min=1)
        total = total + F.cross_entropy(values.float().flatten(0, 2), answer.flatten(), reduction="sum") / seen
    for name, values in views.scene.items():
        total = total + F.cross_entropy(values.float(), truth.scene[name][chosen])
    return total


def marking(cells: Tensor, masks: Tensor, cast: Tensor) -> Tensor:
    """The cross-entropy of who is in each cell; cells that are wholly an actor's count ten times as much as empty ones.

    cells [B T 1+S h w] logits, masks [B T H W], cast [B 3].
    """
    size = masks.shape[-1] // cells.shape[-1]
    layers = torch.stack([masks == value for value in range(3)], dim=2).float()  # [B T 3 H W]
    layers = F.avg_pool2d(layers.flatten(0, 1), size).unflatten(0, masks.shape[:2])
    index = cast[:, None, :, None, None].expand_as(layers)
    shares = torch.zeros_like(cells).scatter_add_(2, index, layers)
    errors = F.cross_entropy(cells.flatten(0, 1), shares.flatten(0, 1), reduction="none")
    weights = 10 - 9 * shares[:, :, 0].flatten(0, 1)
    return (weights * errors).sum() / weights.sum()
