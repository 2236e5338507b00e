"""A run as `piying train` left it, and which of its adapters counts."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piying.data import dataset as datasets
from piying.data.dataset import Clip, Dataset, write_whole
from piying.errors import PiyingError, UsageError
from piying.files import digest, replacing

FILE = "pytorch_lora_weights.safetensors"
BEST = "best"  # the folder of the adapter that a report chose


@dataclass(frozen=True)
class Run:
    folder: Path
    recipe: Mapping[str, Any]
    model: str  # that it was trained on
    dataset: Dataset
    learned: tuple[Clip, ...]
    held_out: tuple[Clip, ...]

    @property
    def whole(self) -> Path | None:
        """The folder of the model, where all of it was trained."""
        return self.folder / "model" if self.recipe["kind"] == "full" else None

    @property
    def adapter(self) -> Path:
        """The one that was chosen, else the last. Raises UsageError where the training has not ended."""
        for name in (BEST, "adapter"):
            if (path := self.folder / name / FILE).is_file():
                return path
        raise UsageError(f"{self.folder}: has no adapter yet; end its training with piying train --resume")

    @property
    def kept(self) -> dict[str, Path]:
        """What the run kept on its way, and its end, by the step: oldest first."""
        found = {path.stem: path for path in sorted((self.folder / "adapters").glob("*.safetensors"))}
        last = self.folder / "adapter" / FILE
        if last.is_file() and not any(digest(path) == digest(last) for path in found.values()):
            found["the end"] = last
        return found


def read(folder: Path, dataset: Path | None = None) -> Run:
    """The run of a folder. `dataset` is where its clips lie now, where they were moved.

    Raises UsageError where the folder is no run, or its dataset is gone or another one.
    """
    path, split = folder / "recipe.json", folder / "clips.json"
    if not path.is_file():
        raise UsageError(f"{folder}: no run, recipe.json is missing; name the folder that piying train left")
    if not split.is_file():
        raise UsageError(f"{folder}: does not say which clips were held out; run piying train --resume once")
    try:
        said, clips = (json.loads(file.read_text("utf-8")) for file in (path, split))
        where = dataset or Path(said["dataset"]["folder"])
        model, recipe = said["model"]["name"], said["recipe"]
        groups, contents = (clips["learned"], clips["held_out"]), clips.get("sha256", {})
    except (ValueError, KeyError, TypeError) as error:
        raise PiyingError(f"{folder}: recipe.json or clips.json is broken ({error})") from None
    if not where.is_dir():
        raise UsageError(f"dataset={where}: is not there; say where it lies now with --dataset")
    found = datasets.read(where)
    known = {clip.id: clip for clip in found.clips}
    if strangers := [name for name in (*groups[0], *groups[1]) if name not in known]:
        raise UsageError(f"dataset={where}: lacks {strangers[0]}, which the run was shown; give the one it learned")
    if others := [name for name, content in contents.items() if name in known and known[name].sha256 != content]:
        raise UsageError(f"dataset={where}: {others[0]} is not what the run was shown; give the one it learned")
    learned, held_out = (tuple(known[name] for name in names) for names in groups)
    return Run(folder, recipe, model, found, learned, held_out)


def mark(run: Run, chosen: str, scores: Mapping[str, Mapping[str, float]]) -> Path:
    """Copies the best adapter to `best/` and writes down why, whole or not at all."""
    folder = run.folder / BEST
    folder.mkdir(exist_ok=True)
    with replacing(folder / FILE) as partial:
        shutil.copyfile(run.kept[chosen], partial)
    write_whole(folder / "why.json", json.dumps({"chosen": chosen, "scores": scores}, indent=1))
    return folder / FILE
