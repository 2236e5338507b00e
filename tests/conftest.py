"""What several tests share."""

import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chat_server import Server

from piying.config import NANO

# Several processes share the cores: each one's threads would wait for those of the others.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Kernels run in Triton's interpreter unless `-m gpu` asks for a card. Triton looks when it is imported, so this stands
# before anything that imports it; processes of pytest-xdist inherit it.
os.environ.setdefault("TRITON_INTERPRET", "0" if "gpu" in sys.argv else "1")


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model in nano's shape: 9 frames of 32x48 in 2 steps; it knows "a", "red", "boat" and 船."""
    import torch
    from toys import toy, toy_checkpoint

    from piying.weights import save

    config = replace(toy(NANO), name="tiny", steps=2)
    words = {"en": ["a", "red", "boat"], "zh": ["船"]}
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save(replace(toy_checkpoint(NANO), config=config, words=words), folder, torch.float32)
    return folder


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees what the machine's owner has downloaded, or the network settings of their hub."""
    offline, proxies = (
        ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"),
        ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"),
    )
    for name in ("HUGGINGFACE_HUB_CACHE", "HF_HOME", "HF_TOKEN", *offline, *proxies):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIYING_HOME", f"{tmp_path}-home")
    monkeypatch.setenv("HF_HUB_CACHE", f"{tmp_path}-hub")


@pytest.fixture
def server() -> Iterator[Server]:
    """An endpoint for chats on this machine."""
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def official_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random 2B at toy size in 2 steps, whose tokenizer has no Chinese and which reads 8 tokens."""
    import torch
    from toys import toy, toy_checkpoint

    from piying.config import COGVIDEOX_2B
    from piying.weights import save

    config = replace(toy(COGVIDEOX_2B), steps=2)
    folder = tmp_path_factory.mktemp("models") / "official"
    save(replace(toy_checkpoint(COGVIDEOX_2B), config=config), folder, torch.float32)
    return folder
