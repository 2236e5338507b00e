"""Backdrop, style and light of a clip, by its likeness to scenes that the theatre draws.

Kernel ridge regression (Saunders, Gammerman and Vovk 1998, ICML, equation 6): a Gaussian kernel between a clip and
rendered scenes, some of them through the autoencoder that is judged, so that its blur is no style. The backdrop is
looked for in small pictures; style and light in how often each colour and each sharpness of an edge occurs.
"""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from piying.evaluate.fidelity import reconstruct
from piying.evaluate.looks import CANVAS
from piying.evaluate.nearest import coarse
from piying.files import replacing
from piying.models.vae import VAE
from piying.theatre import casting
from piying.theatre.ahead import Job, draw_ahead
from piying.theatre.scene import BACKDROPS, LIGHTS, STYLES, SUBJECTS, TROUPE, UNSEEN_STYLES, Scene

FACTS: dict[str, tuple[str, ...]] = {"backdrop": BACKDROPS, "style": (*STYLES, *UNSEEN_STYLES), "light": LIGHTS}
SEEDS = 1 << 51  # of the scenes: beyond those of training, of evaluation and of the detectors
DRAWN, THROUGH = 900, 120  # scenes; those of them that are also seen through the autoencoder
LOOKS, FRAMES = 3, 9  # pictures of a clip that are looked at; frames of a scene that is drawn for it
RIDGE, WIDTH = 0.01, 1.0  # of the regression; of the kernel, in median distances
COLOURS = 8  # levels of each channel
EDGES = (-0.5, -0.25, -0.12, -0.06, -0.03, -0.01, 0.01, 0.03, 0.06, 0.12, 0.25, 0.5)  # of a Laplacian, of 0..1
SCALES = (1, 2, 4)  # pixels

Views = Mapping[str, Tensor]  # what is compared: "picture" [N D] and "marks" [N E]
COMPARED = {"backdrop": "picture", "style": "marks", "light": "marks"}


class Scenery:
    """Reference scenes and what they show: scenes [M], answers of each fact as numbers [M]."""

    def __init__(self, references: Views, answers: Mapping[str, Tensor]) -> None:
        self.references, self.answers = references, answers
        self.scales = {name: torch.cdist(x, x).square().median() * WIDTH for name, x in references.items()}
        self.weights = {}
        for fact, values in FACTS.items():
            truth = F.one_hot(answers[fact], len(values)).double()
            kernel = self._kernel(COMPARED[fact], references)
            ridge = RIDGE * torch.eye(len(kernel), dtype=kernel.dtype)
            self.weights[fact] = truth.mean(0), torch.linalg.solve(kernel + ridge, truth - truth.mean(0))

    def look(self, clips: Tensor) -> list[dict[str, str]]:
        """What clips uint8 [B F H W 3] show, by fact."""
        seen, found = views(clips), {}
        for fact, (mean, weights) in self.weights.items():
            found[fact] = (self._kernel(COMPARED[fact], seen) @ weights + mean).argmax(1).tolist()
        return [{fact: FACTS[fact][numbers[i]] for fact, numbers in found.items()} for i in range(len(clips))]

    def _kernel(self, name: str, seen: Views) -> Tensor:
        return torch.exp(-torch.cdist(seen[name], self.references[name]).square() / self.scales[name])


def learn(vae: VAE, folder: Path, device: str, drawn: int = DRAWN, through: int = THROUGH) -> Scenery:
    """The references from `folder`, or drawn and kept there under what they were made of; some minutes, once."""
    path = folder / f"scenery-{_mark(vae, drawn, through)}.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        dice = random.Random("scenery")
        scenes = [_scene(dice) for _ in range(drawn)]
        jobs = [Job(scenes[start : start + 4], FRAMES) for start in range(0, drawn, 4)]
        parts: list[dict[str, Tensor]] = []
        again: list[dict[str, Tensor]] = []
        for clips in draw_ahead(jobs, CANVAS, 16):
            parts.append(views(clips))
            if len(again) * 4 < through:
                again.append(views(reconstruct(vae, clips.to(device)).cpu()))
        kept = {name: torch.cat([part[name] for part in (*parts, *again)]) for name in ("picture", "marks")}
        shown = [*scenes, *scenes[: 4 * len(again)]]
        for fact, values in FACTS.items():
            kept[fact] = torch.tensor([values.index(getattr(scene, fact)) for scene in shown])
        with replacing(path) as partial:
            save_file(kept, partial)
    kept = load_file(path)
    return Scenery({name: kept[name].double() for name in ("picture", "marks")}, {fact: kept[fact] for fact in FACTS})


def views(clips: Tensor) -> dict[str, Tensor]:
    """What is compared of clips uint8 [B F H W 3]."""
    moments = torch.linspace(0, clips.shape[1] - 1, LOOKS).round().long()
    looks = clips[:, moments].cpu()
    return {"picture": coarse(looks).double(), "marks": torch.cat([_colours(looks), _edges(looks)], 1).double()}


def _mark(vae: VAE, drawn: int, through: int) -> str:
    mark = hashlib.sha256(f"{drawn} {through} {LOOKS} {FRAMES} {EDGES}".encode())
    for parameter in vae.parameters():
        mark.update(parameter.detach().float().cpu().numpy().tobytes())
    return mark.hexdigest()[:12]


def _scene(dice: random.Random) -> Scene:
    scene = casting.draw(dice, "any", cast=(*SUBJECTS, *TROUPE), styles=(*STYLES, *UNSEEN_STYLES))
    return replace(scene, seed=SEEDS + scene.seed)


def _colours(looks: Tensor) -> Tensor:
    """The root of each colour's share [B 512], whose distances are Hellinger's."""
    level = looks.long() * COLOURS // 256
    return _shares(((level[..., 0] * COLOURS + level[..., 1]) * COLOURS + level[..., 2]).flatten(1), COLOURS**3)


def _edges(looks: Tensor) -> Tensor:
    """The same of Laplacians of the brightness, at each scale [B 39]."""
    grey = looks.flatten(0, 1).float().mean(-1)[:, None] / 255
    bounds, found = torch.tensor(EDGES), []
    kernel = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])[None, None]
    for scale in SCALES:
        steep = F.conv2d(F.avg_pool2d(grey, scale), kernel)
        found.append(_shares(torch.bucketize(steep, bounds).unflatten(0, looks.shape[:2]).flatten(1), len(EDGES) + 1))
    return torch.cat(found, 1)


def _shares(numbers: Tensor, count: int) -> Tensor:
    counts = torch.zeros(len(numbers), count).scatter_add_(1, numbers, torch.ones_like(numbers, dtype=torch.float))
    return (counts / numbers.shape[1]).sqrt()
