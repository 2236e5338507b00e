"""A fine-tuning at toy size, and what it left."""

import torch

from piying.train import checkpoint
from piying.train.tune import tuning
from piying.train.tune.tune import tune


def run(dataset, model, recipe, out, *overrides, **options):
    heard = []
    read = tuning.read(recipe, overrides, "tiny")
    tuned = tune(dataset, str(model), read, out, device="cpu", listen=lambda event: heard.append(str(event)), **options)
    return tuned, heard, read


def final(out):
    return checkpoint.read(out / "train")[1]


def same(first, second):
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
