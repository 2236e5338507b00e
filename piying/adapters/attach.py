"""Adapters on a transformer: made for training, fitted, attached, taken off again.

fitted = fit(transformer, create(transformer, rank=128, alpha=64), trainable=True)
attach(transformer, fitted)
optimizer = torch.optim.AdamW(fitted.parameters())
...
file.write(fitted.adapter(), Path("mine.safetensors"))
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from piying.adapters.adapter import Adapter, Layer
from piying.adapters.lora import LoRA, row_norms
from piying.errors import PiyingError, UsageError
from piying.models.linear import Linear
from piying.models.transformer import Transformer

ATTENTION = ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0")  # what most trainers adapt


class Fitted(nn.Module):
    """An adapter as modules for one transformer; its parameters are the adapter's alone."""

    def __init__(self, adapter: Adapter, layers: dict[str, LoRA]) -> None:
        super().__init__()
        self.source = adapter
        self.names = tuple(layers)
        self.layers = nn.ModuleList(layers.values())

    def strengthen(self, strength: float) -> None:
        """Sets how much of the change is added: 1 is as trained, 0 is none."""
        for layer in self.by_name().values():
            layer.strength.fill_(strength)

    def by_name(self) -> dict[str, LoRA]:
        layers = [layer for layer in self.layers if isinstance(layer, LoRA)]
        return dict(zip(self.names, layers, strict=True))

    def adapter(self) -> Adapter:
        """What was learned by now, as data on the CPU."""
        return replace(self.source, layers={name: layer.layer() for name, layer in self.by_name().items()})


def create(
    transformer: Transformer,
    *,
    rank: int,
    alpha: float,
    targets: Sequence[str] = ATTENTION,
    dora: bool = False,
    seed: int = 0,
) -> Adapter:
    """An adapter to train, that changes nothing yet: A uniform by fan-in, B zero, m the norms of W.

    `targets` are ends of module names. Raises UsageError where one names nothing or a number makes no sense.
    """
    if rank < 1 or not (math.isfinite(alpha) and alpha > 0):
        raise UsageError(f"rank={rank}, alpha={alpha}: use numbers above zero, e.g. 128 and 64")
    modules = linears(transformer)
    for target in targets:
        if not any(ends(name, target) for name in modules):
            raise UsageError(f"target={target}: no layer ends so; use e.g. {', '.join(ATTENTION)}")
    dice, layers = torch.Generator().manual_seed(seed), {}
    for name, module in modules.items():
        if any(ends(name, target) for target in targets):
            outputs, *inputs = module.weight.shape
            bound = math.prod(inputs) ** -0.5  # Kaiming with a = sqrt(5), as in the official code
            down = torch.empty(rank, *inputs).uniform_(-bound, bound, generator=dice)
            layer = Layer(down, torch.zeros(outputs, rank, *(1 for _ in inputs[1:])), float(alpha))
            if dora:
                layer = replace(layer, magnitude=row_norms(module.matrix(torch.float32), layer).cpu())
            layers[name] = layer
    return Adapter(layers, base_sha256=fingerprint(transformer))


def fit(transformer: Transformer, adapter: Adapter, *, trainable: bool = False) -> Fitted:
    """The adapter on the device of the transformer, not yet attached; weights that stream may lie elsewhere.

    Trainable parameters are float32 and want gradients; the transformer's own are left as they are. Raises PiyingError
    where the adapter was made for another transformer.
    """
    check(transformer, adapter)
    modules, device = linears(transformer), transformer.proj_out.weight.device
    layers = {
        name: LoRA(layer, modules[name], device=device, trainable=trainable) for name, layer in adapter.layers.items()
    }
    return Fitted(adapter, layers)


def attach(transformer: Transformer, *fitted: Fitted) -> None:
    """From now on exactly these are on; each adds its change to the transformer alone, so that order plays no part."""
    changes: dict[str, tuple[LoRA, ...]] = {}
    for adapter in fitted:
        for name, layer in adapter.by_name().items():
            changes[name] = (*changes.get(name, ()), layer)
    for name, module in linears(transformer).items():
        module.changes = changes.get(name, ())


def detach(transformer: Transformer) -> None:
    """Takes every adapter off."""
    attach(transformer)


@contextmanager
def attached(transformer: Transformer, *fitted: Fitted) -> Iterator[None]:
    """These alone are on inside, and afterwards what was on before."""
    before = {module: module.changes for module in linears(transformer).values()}
    attach(transformer, *fitted)
    try:
        yield
    finally:
        for module, changes in before.items():
            module.changes = changes


def check(transformer: Transformer, adapter: Adapter) -> None:
    """Raises PiyingError, with the reason, where the adapter was made for another transformer."""
    config, modules = transformer.config, linears(transformer)
    if adapter.width not in (None, config.width):
        raise PiyingError(f"the adapter is for a model of width {adapter.width}; this one has {config.width}")
    if adapter.blocks > config.layers:
        raise PiyingError(f"the adapter is for {adapter.blocks} blocks or more; this model has {config.layers}")
    for name, layer in adapter.layers.items():
        if name not in modules:
            raise PiyingError(f"the adapter changes {name}, which this model does not have")
        weight = tuple(modules[name].weight.shape)
        found = (layer.up.shape[0], *layer.down.shape[1:])
        if found != weight or layer.up.shape[2:].numel() != 1:
            raise PiyingError(f"the adapter changes {name} in the shape {found}; this model has {weight} there")


def linears(transformer: Transformer) -> dict[str, Linear]:
    """The layers that adapters can change, by name."""
    return {name: module for name, module in transformer.named_modules() if isinstance(module, Linear)}


@torch.no_grad()
def fingerprint(transformer: Transformer) -> str:
    """A SHA-256 of names, shapes and 64 values of each parameter, rounded to bfloat16: the same for any file, shard and
    precision that the weights are kept in (but float16, where it underflows), another one after any training."""
    return sampled(sorted(transformer.named_parameters()), torch.bfloat16)


def sampled(tensors: Iterable[tuple[str, Tensor]], dtype: torch.dtype) -> str:
    """A SHA-256 of the names, the shapes and 64 values of tensors, rounded to a type."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(json.dumps([name, list(tensor.shape)]).encode())
        values = tensor.flatten()
        places = torch.linspace(0, len(values) - 1, min(64, len(values)), dtype=torch.float64).long()
        digest.update(values[places.to(values.device)].to("cpu", dtype).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def ends(name: str, target: str) -> bool:
    """Whether a module's name ends in a target, in whole words."""
    return name == target or name.endswith(f".{target}")
