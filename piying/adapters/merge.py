"""Adapters folded into the weights: no cost while the model runs, and rounded to the weights' precision once."""

from collections.abc import Iterable

import torch
from torch import Tensor

from piying.adapters.adapter import Adapter
from piying.adapters.attach import check, linears
from piying.adapters.lora import change_of
from piying.errors import PiyingError
from piying.models.transformer import Transformer


class Merged:
    """What was merged, and the first weights, kept on the CPU: subtracting again would drift."""

    def __init__(self, transformer: Transformer, originals: dict[str, Tensor]) -> None:
        self._transformer = transformer
        self._originals = originals

    @torch.no_grad()
    def undo(self) -> None:
        """Puts back every weight, bit by bit."""
        modules = linears(self._transformer)
        for name, original in self._originals.items():
            modules[name].weight.copy_(original)


@torch.no_grad()
def merge(transformer: Transformer, adapters: Iterable[tuple[Adapter, float]]) -> Merged:
    """W + the sum of strength (W' - W), added in float32, in place of every changed W.

    Computed on the device of the transformer and written to wherever W lies. Raises PiyingError where an adapter does
    not fit or the weights are no plain numbers. After any error they are what they were.
    """
    adapters = list(adapters)
    for adapter, _ in adapters:
        check(transformer, adapter)
    modules, device = linears(transformer), transformer.proj_out.weight.device
    names = sorted({name for adapter, _ in adapters for name in adapter.layers})
    for name in names:
        if modules[name].weight_scale is not None:
            raise PiyingError(f"{name} is quantised; use the adapter live")
    originals = {name: modules[name].weight.detach().to("cpu", copy=True) for name in names}
    merged = Merged(transformer, originals)
    try:
        for name in names:
            weight = modules[name].weight.to(device)
            whole = weight.float()
            for adapter, strength in adapters:
                if layer := adapter.layers.get(name):
                    whole = whole + strength * change_of(weight, layer)
            modules[name].weight.copy_(whole)
    except BaseException:  # out of memory, Ctrl-C
        merged.undo()
        raise
    return merged
