import multiprocessing
import signal
import subprocess
import sys

import pytest
import torch

from piying.config import VAEConfig
from piying.errors import PiyingError
from piying.models import initial
from piying.models.vae import to_pixels
from piying.theatre.stage import render
from piying.train.nano import latents
from piying.train.nano.latents import Latents, Order
from piying.train.seeds import training_scene

SIZE = (16, 32)
SCENES = [training_scene(0, i) for i in range(34)]
CPU = torch.device("cpu")


@pytest.fixture
def order(tmp_path):
    vae = initial.vae(VAEConfig(channels=(8, 8, 8, 8), blocks=1, groups=8), 0)
    return Order(SCENES, SIZE, 17, vae, 2.0, tmp_path)


def test_latents_grow_as_asked_and_are_taken_from_their_files_the_next_time(order, tmp_path, monkeypatch):
    monkeypatch.setattr(latents, "FILE", 2)
    first = Latents(order, CPU)
    assert first.grow(3)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["000000.safetensors", "000002.safetensors"]
    again = Latents(order, CPU)
    assert again.grow(5)
    assert torch.equal(again.clips[:3], first.clips[:3])
    pixels = to_pixels(render(SCENES[4:5], size=SIZE).frames[:, :17])
    with torch.no_grad():
        clip, image = (2.0 * order.vae.encode(window)[0].transpose(1, 2) for window in (pixels, pixels[:, :, -1:]))
    torch.testing.assert_close(again.clips[4].float(), clip[0], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(again.images[4, 1].float(), image[0, 0], rtol=1e-2, atol=1e-2)


def test_a_process_beside_makes_the_same_latents(order, tmp_path):
    beside = Latents(order, CPU, beside=True)
    assert beside.grow(len(SCENES))
    for path in sorted(tmp_path.iterdir()):
        path.rename(path.with_suffix(".beside"))
    here = Latents(order, CPU)
    assert here.grow(len(SCENES))
    assert torch.equal(here.clips, beside.clips)
    assert torch.equal(here.images, beside.images)


def find(folder):
    (maker,) = (child for child in multiprocessing.active_children() if child.name == f"latents {folder}")
    return maker


def test_the_process_beside_ends_with_its_reader(order, tmp_path):
    beside = Latents(order, CPU, beside=True)
    maker = find(tmp_path)
    del beside
    maker.join(20)
    assert maker.exitcode == -signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_the_process_beside_ends_with_the_one_that_it_works_for(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(
        "import os, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from piying.config import VAEConfig\n"
        "from piying.models import initial\n"
        "from piying.train.nano.latents import Latents, Order\n"
        "from piying.train.seeds import training_scene\n"
        "if __name__ == '__main__':\n"
        "    vae = initial.vae(VAEConfig(channels=(8, 8, 8, 8), blocks=1, groups=8), 0)\n"
        "    scenes = [training_scene(0, i) for i in range(3200)]\n"
        "    order = Order(scenes, (16, 32), 17, vae, 2.0, Path(sys.argv[1]))\n"
        "    Latents(order, torch.device('cpu'), beside=True).grow(1)\n"
        "    pool = Latents(order, torch.device('cpu'), beside=True)\n"
        "    pool.grow(40)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # Whoever lives on holds the pipe open, for whose end this waits.
    said = subprocess.run([sys.executable, script, tmp_path / "latents"], stdout=subprocess.PIPE, timeout=60)
    assert said.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "latents").iterdir())) >= 2


def test_a_process_beside_that_dies_is_noticed(order, tmp_path):
    beside = Latents(order, CPU, beside=True)
    maker = find(tmp_path)
    maker.kill()
    with pytest.raises(PiyingError, match=r"000000\.safetensors: the process that draws and encodes clips ended"):
        beside.grow(1)
