"""What a fine-tuning leaves: files for every program, a card, a whole model; each read again before it counts.

adapter/
  pytorch_lora_weights.safetensors   diffusers, peft and Piying itself
  kohya.safetensors  comfyui.safetensors
  README.md                          the card
model/                               everything merged or fully trained, in the layout of diffusers
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from piying import weights
from piying.adapters import file
from piying.adapters.adapter import Adapter
from piying.adapters.attach import Fitted, attached
from piying.adapters.formats import Naming
from piying.adapters.merge import merge
from piying.data.dataset import write_whole
from piying.errors import PiyingError
from piying.models.transformer import Transformer
from piying.train.tune.card import card
from piying.train.tune.examples import Example
from piying.train.tune.lesson import predict
from piying.train.tune.ready import Tuned, load
from piying.train.tune.tuning import Tuning
from piying.weights.checkpoint import open_source

FILES = {
    Naming.diffusers: "pytorch_lora_weights.safetensors",
    Naming.kohya: "kohya.safetensors",
    Naming.comfyui: "comfyui.safetensors",
}
TOLERANCE = {torch.float32: 0.01, torch.bfloat16: 1.0}  # of a merged model, by precision; see `Exported`


@dataclass(frozen=True)
class Exported:
    """A file or folder, which read again is bit by bit what was written; what was merged is rounded with the weights.

    `distance`: relative L2 of what the merged adapter changes in the prediction from what it changed in the trainer's.
    """

    path: Path
    distance: float = 0.0


def export(tuned: Tuned, tuning: Tuning, out: Path, *, whole: bool) -> list[Exported]:
    """Writes the adapter in every naming with its card, and the whole model where asked for or where all of it learned.

    Raises PiyingError, and leaves nothing under a final name, where what was read again is not what was written, or
    where rounding loses what a merged adapter learned.
    """
    made, learned = [], tuned.learned
    if isinstance(learned, Fitted):
        folder = out / "adapter"
        folder.mkdir(exist_ok=True)
        adapter = learned.adapter()
        for naming, name in FILES.items():
            path = folder / name
            unproven = path.with_name(f".unproven-{name}")
            try:
                file.write(adapter, unproven, naming)
                _prove(path, _facts(file.read(unproven)), _facts(adapter))
                unproven.replace(path)
            finally:
                unproven.unlink(missing_ok=True)
            made.append(Exported(path))
        write_whole(folder / "README.md", card(tuned, tuning, out, adapter))
        if whole:
            with _merged(tuned, adapter, out / "model") as distance:
                made.append(Exported(_whole(tuned, tuned.transformer, out / "model"), distance))
    else:
        made.append(Exported(_whole(tuned, learned, out / "model")))
    write_whole(
        out / "export.json", json.dumps([{"path": str(one.path), "distance": one.distance} for one in made], indent=1)
    )
    return made


def _facts(adapter: Adapter) -> dict[str, object]:
    """All that a file is to keep; alpha as it keeps it."""
    facts: dict[str, object] = {"what it says of itself": replace(adapter, layers={}, assumed=None)}
    for name, layer in adapter.layers.items():
        facts |= {f"{name} {part}": value for part, value in vars(layer).items()}
        facts[f"{name} alpha"] = torch.tensor(layer.alpha, dtype=torch.float32)
    return facts


def _prove(path: Path, found: Mapping[str, object], written: Mapping[str, object]) -> None:
    """Raises PiyingError where what was read again is not bit by bit what was written."""
    for name in written.keys() | found.keys():
        one, other = found.get(name), written.get(name)
        if not (torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else one == other):
            raise PiyingError(f"{path}: {name} did not come back from the disk as it was; nothing was left there")


def _whole(tuned: Tuned, transformer: Transformer, folder: Path) -> Path:
    """The model with this transformer, in the precision that it was trained in."""
    ready = tuned.ready
    unproven = folder.with_name(f".{folder.name}-unproven")
    shutil.rmtree(unproven, ignore_errors=True)  # of an export that was killed
    weights.save(replace(weights.load(ready.name, dtype=ready.dtype), transformer=transformer), unproven, ready.dtype)
    try:
        again = load(open_source(unproven), "transformer", Transformer, torch.device("cpu"), ready.dtype).state_dict()
        _prove(folder, again, {name: tensor.cpu() for name, tensor in transformer.state_dict().items()})
        shutil.rmtree(folder, ignore_errors=True)
        unproven.rename(folder)
    finally:
        shutil.rmtree(unproven, ignore_errors=True)
    return folder


@contextmanager
def _merged(tuned: Tuned, adapter: Adapter, folder: Path) -> Iterator[float]:
    """Inside, the adapter is in the trainer's own weights, so that no card holds two models: see `Exported`.

    Raises PiyingError where that is more than rounding should be.
    """
    transformer, probe = tuned.transformer, _probe(tuned)
    assert isinstance(tuned.learned, Fitted)
    with attached(transformer):
        base = _forward(transformer, probe)
        with attached(transformer, tuned.learned):
            wanted = _forward(transformer, probe)
        merged = merge(transformer, [(adapter, 1.0)])
        try:
            distance = float((_forward(transformer, probe) - wanted).norm() / (wanted - base).norm())
            if not distance < TOLERANCE[tuned.ready.dtype]:
                raise PiyingError(f"{folder}: merging would round off all that was learned; use the adapter")
            yield distance
        finally:
            merged.undo()


def _probe(tuned: Tuned) -> Example:
    """The first example at a middle level."""
    example = tuned.ready.examples(0)
    return example._replace(timesteps=torch.full_like(example.timesteps, 500))


@torch.no_grad()
def _forward(transformer: Transformer, probe: Example) -> Tensor:
    return predict(transformer, probe.x0 + probe.noise, probe).cpu()
