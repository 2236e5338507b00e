"""The second judge: a small network that learned rendered theatre and its reconstructions, never generated video."""

import lzma
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from piying.errors import ModelMissing
from piying.evaluate.looks import pictures, subsample
from piying.evaluate.network import Network, Views
from piying.evaluate.sight import CAST, COLOURLESS, COLOURS, MOTIONS, SCENE, SIZES, STYLES, SUBJECTS, Sight
from piying.files import digest, replacing

WEIGHTS = Path(__file__).with_name("detectors.safetensors.xz")
WINDOWS = 4  # parts of a clip in which a steady puppet stays the same


def read(path: Path = WEIGHTS, device: str = "cpu") -> Network:
    """The trained network. Raises ModelMissing if it was never trained."""
    if not path.exists():
        raise ModelMissing(f"{path}: no detectors; train them with `python -m piying.evaluate.schooling`")
    state = load(lzma.decompress(path.read_bytes()))
    network = Network(width=len(state["eye.fine.0.0.weight"]))
    network.load_state_dict(state)
    return network.to(device).eval()


def mark() -> str:
    """Changes with the weights."""
    return digest(WEIGHTS)[:12]


def write(network: Network, path: Path) -> None:
    """Its weights in half precision, which pack well."""
    halves = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).cpu().contiguous()
        for name, tensor in network.state_dict().items()
    }
    with replacing(path) as partial:
        partial.write_bytes(lzma.compress(save(halves), preset=9 | lzma.PRESET_EXTREME))


@torch.inference_mode()
def look(network: Network, clips: Tensor, *, unseen: bool = False) -> list[Sight]:
    """What the network sees. clips uint8 [B F H W 3]; `unseen`: also the troupe and the styles that nano never saw."""
    views = network(pictures(subsample(clips).to(next(network.parameters()).device)))
    facts = {name: logits.cpu() for name, logits in views.scene.items()}
    if not unseen:
        facts["style"] = facts["style"][:, : len(STYLES)]
    presence = views.presence if unseen else views.presence[:, : len(SUBJECTS)]
    return sights(
        Views(views.cells.cpu(), presence.cpu(), views.colour.cpu(), views.size.cpu(), views.motion.cpu(), facts)
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
            CAST[subject]: {
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
                presence=dict(zip(CAST[: len(belief)], [round(value, 3) for value in belief.tolist()], strict=True)),
                steady=same_subjects and same_colours,
            )
        )
    return found


def windows(logits: Tensor) -> Tensor:
    """The mean over each window of frames. [B S T ...] -> [B S windows ...]."""
    return torch.stack([part.mean(dim=2) for part in logits.tensor_split(WINDOWS, dim=2)], dim=2)
