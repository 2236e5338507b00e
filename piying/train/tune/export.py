"""What a fine-tuning leaves: files for every program, a card, a whole model; each read again before it counts.

adapter/
  pytorch_lora_weights.safetensors   diffusers, peft and Piying itself
  kohya.safetensors  comfyui.safetensors
  README.md                          the card
model/                               everything merged or fully trained, in the layout of diffusers
"""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from piying import weights
from piying.adapters import file
from piying.adapters.attach import Fitted, attached, fit
from piying.adapters.formats import Naming
from piying.adapters.merge import merge
from piying.data.dataset import write_whole
from piying.errors import PiyingError
from piying.models.transformer import Transformer
from piying.train.tune.card import card
from piying.train.tune.examples import Example
from piying.train.tune.lesson import predict
from piying.train.tune.ready import Tuned
from piying.train.tune.tuning import Tuning

FILES = {
    Naming.diffusers: "pytorch_lora_weights.safetensors",
    Naming.kohya: "kohya.safetensors",
    Naming.comfyui: "comfyui.safetensors",
}
TOLERANCE = {torch.float32: 1e-4, torch.float16: 0.01, torch.bfloat16: 0.05}  # relative L2, by precision of the weights


@dataclass(frozen=True)
class Exported:
    """A file or folder, and how far its forward is from the trainer's, relative L2."""

    path: Path
    distance: float


def export(tuned: Tuned, tuning: Tuning, out: Path, *, whole: bool) -> list[Exported]:
    """Writes the adapter in every naming with its card, and the whole model where asked for or where all of it learned.

    Raises PiyingError, and leaves nothing under a final name, where what was read again does otherwise than the
    trainer.
    """
    probe, made = _probe(tuned), []
    learned = tuned.learned
    if isinstance(learned, Fitted):
        with attached(tuned.transformer, learned):
            wanted = _forward(tuned.transformer, probe)
        folder = out / "adapter"
        folder.mkdir(exist_ok=True)
        adapter = learned.adapter()
        for naming, name in FILES.items():
            path = folder / name
            unproven = path.with_name(f".unproven-{name}")
            try:
                file.write(adapter, unproven, naming)
                again = file.read(unproven)
                with attached(tuned.transformer, fit(tuned.transformer, again).to(probe.x0.device)):
                    distance = _distance(path, _forward(tuned.transformer, probe), wanted, tuned.ready.dtype)
                if replace(again, layers={}, assumed=None) != replace(adapter, layers={}):
                    raise PiyingError(f"{path}: the names did not come back from the file")
                unproven.replace(path)
            finally:
                unproven.unlink(missing_ok=True)
            made.append(Exported(path, distance))
        write_whole(folder / "README.md", card(tuned, tuning, out, adapter))
    else:
        wanted = _forward(learned, probe)
    if whole or not isinstance(learned, Fitted):
        made.append(_whole(tuned, out / "model", probe, wanted))
    write_whole(
        out / "export.json", json.dumps([{"path": str(one.path), "distance": one.distance} for one in made], indent=1)
    )
    return made


def _whole(tuned: Tuned, folder: Path, probe: Example, wanted: Tensor) -> Exported:
    """The model with all that was learned, in the precision that it was trained in."""
    ready, learned = tuned.ready, tuned.learned
    checkpoint = weights.load(ready.name, dtype=ready.dtype)
    if isinstance(learned, Fitted):
        merge(checkpoint.transformer, [(learned.adapter(), 1.0)])
    else:
        checkpoint = replace(checkpoint, transformer=learned)
    unproven = folder.with_name(f".{folder.name}-unproven")
    shutil.rmtree(unproven, ignore_errors=True)  # of an export that was killed
    weights.save(checkpoint, unproven, ready.dtype)
    del checkpoint
    try:
        again = weights.load(unproven, device=ready.examples.device, dtype=ready.dtype).transformer
        distance = _distance(folder, _forward(again, probe), wanted, ready.dtype)
        shutil.rmtree(folder, ignore_errors=True)
        unproven.rename(folder)
    finally:
        shutil.rmtree(unproven, ignore_errors=True)
    return Exported(folder, distance)


def _probe(tuned: Tuned) -> Example:
    """The first example at a middle level: what all forwards are compared on."""
    example = tuned.ready.examples(0)
    return example._replace(timesteps=torch.full_like(example.timesteps, 500))


@torch.no_grad()
def _forward(transformer: Transformer, probe: Example) -> Tensor:
    return predict(transformer, probe.x0 + probe.noise, probe).cpu()


def _distance(path: Path, found: Tensor, wanted: Tensor, dtype: torch.dtype) -> float:
    """Relative L2. Raises PiyingError where it is more than rounding."""
    distance = float((found - wanted).norm() / wanted.norm())
    if not distance <= TOLERANCE[dtype]:
        raise PiyingError(f"{path}: read again, it is {distance:.2g} from what was trained; nothing was left there")
    return distance
