"""A small dataset on disk, for models at toy size: clips of 9 frames of 32x48, two an episode, and an image."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from piying.data.dataset import Clip, Member, write_cast, write_clips
from piying.files import digest
from piying.video import writing

RECIPE = """
rank = 2
alpha = 4.0
targets = ["attn1.to_q", "ff.net.2"]
steps = 4
batch = 2
preserve = 0.3
held_out = 0.3
save_every = 2
validate_every = 2
sheet_every = 2
log_every = 1

[optimizer]
rate = 1e-2
warmup = 1
ema = 0.9
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Six clips of someone called boat, one of a class called fog; two without anyone; an image."""
    folder = tmp_path / "ds"
    (folder / "media").mkdir(parents=True)
    dice, clips = np.random.default_rng(0), []
    for index in range(8):
        path = folder / "media" / f"{index}.mp4"
        with writing(path, 8) as write:
            write(np.repeat(dice.integers(0, 255, (1, 32, 48, 3), np.uint8), 9, axis=0))
        captions = ("a red boat", "艇 in a fog") if index < 6 else ("a fog",)
        clips.append(clip(path, f"clip-{index}", captions, f"episode-{index // 2}", ("boat",) if index < 6 else (), 9))
    path = folder / "media" / "image.png"
    Image.fromarray(dice.integers(0, 255, (32, 48, 3), np.uint8)).save(path)
    clips.append(clip(path, "image", ("a boat",), "episode-0", ("boat",), 1))
    write_clips(folder, clips)
    write_cast(folder, [Member(id="boat", token="boat", aliases=("艇",), class_word="fog")])
    return folder


def clip(path: Path, name: str, captions: tuple[str, ...], episode: str, names: tuple[str, ...], frames: int) -> Clip:
    return Clip(
        id=name,
        media=f"media/{path.name}",
        frames=frames,
        fps=8,
        size=(32, 48),
        captions=captions,
        episode=episode,
        sha256=digest(path),
        names=names,
        end=frames / 8,
    )


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "toy.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def log() -> Callable[[Path], list[dict[str, float]]]:
    """The lines of a run's log."""

    def log(out: Path) -> list[dict[str, float]]:
        return [json.loads(line) for line in (out / "train.jsonl").read_text("utf-8").splitlines()]

    return log


@pytest.fixture
def tiny(tiny_model_folder):
    return tiny_model_folder
