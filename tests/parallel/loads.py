"""Models that the other ranks cannot load or keep; they are told by name, so these stand in a module."""

import os
import sys

import torch

from piying import weights
from piying.errors import PiyingError
from piying.models.vae import VAE
from piying.parallel import worker


def elsewhere() -> bool:
    """In a rank other than the first."""
    return sys.argv[0] == worker.__file__


def out_of_memory(folder, *, device):
    if elsewhere():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")
    return weights.load(folder, device=device)


def refused(folder, *, device):
    if elsewhere():
        raise PiyingError("the file is gone")
    return weights.load(folder, device=device)


def killed(folder, *, device):
    if elsewhere():
        os.kill(os.getpid(), 9)
    return weights.load(folder, device=device)


def fails_in_a_step(folder, *, device):
    """The transformer runs out of memory in its second call."""
    checkpoint = weights.load(folder, device=device)
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    if elsewhere():
        checkpoint.transformer.transformer_blocks[0].register_forward_pre_hook(fail)
    return checkpoint


def in_bands(folder, *, device):
    """The autoencoder works in bands of rows, as it does on a GPU."""
    if elsewhere():
        VAE._in_bands = lambda *_: True
    return weights.load(folder, device=device)
