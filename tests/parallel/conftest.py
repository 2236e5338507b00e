from dataclasses import replace

import pytest
import torch
from toys import toy_checkpoint

from piying import weights
from piying.adapters import file
from piying.adapters.attach import create
from piying.config import NANO


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """Nano at toy size with three heads, which no number of ranks divides."""
    checkpoint = toy_checkpoint(NANO, heads=3)
    folder = tmp_path_factory.mktemp("models") / "three"
    weights.save(replace(checkpoint, config=replace(checkpoint.config, name="three", steps=3)), folder, torch.float32)
    return folder


@pytest.fixture(scope="session")
def adapter_file(tmp_path_factory, model_folder):
    """An adapter of every attention, strong enough to be seen."""
    adapter = create(weights.load(model_folder).transformer, rank=4, alpha=4)
    dice = torch.Generator().manual_seed(1)
    layers = {
        name: replace(layer, up=torch.randn(layer.up.shape, generator=dice)) for name, layer in adapter.layers.items()
    }
    path = tmp_path_factory.mktemp("adapters") / "strong.safetensors"
    file.write(replace(adapter, layers=layers), path)
    return path
