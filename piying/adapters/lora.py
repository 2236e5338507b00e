"""The change of one layer, live and trainable: LoRA (arXiv:2106.09685) and DoRA (arXiv:2402.09353)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from piying.adapters.adapter import Layer
from piying.models.linear import Linear


class LoRA(nn.Module):
    """Adds strength (W' - W) x to a layer. See `Layer` for W'.

    While it is trained its parameters are float32 and the norm of DoRA follows them, without a gradient as in section
    4.3 of the paper; else they have the type of the layer and the norm is computed once.
    """

    def __init__(self, layer: Layer, base: Linear, *, device: torch.device, trainable: bool) -> None:
        super().__init__()
        self.alpha, self.scale = layer.alpha, layer.scale
        dtype = torch.float32 if trainable else base.dtype
        self.down = nn.Parameter(layer.down.to(device, dtype, copy=True), requires_grad=trainable)
        self.up = nn.Parameter(layer.up.to(device, dtype, copy=True), requires_grad=trainable)
        self.magnitude: nn.Parameter | None = None
        self.gain: Tensor | None
        self.register_buffer("gain", None, persistent=False)
        if layer.magnitude is not None:
            magnitude = layer.magnitude.to(device, torch.float32, copy=True)
            self.magnitude = nn.Parameter(magnitude, requires_grad=trainable)
            if not trainable:
                self.gain = magnitude / row_norms(base.matrix(torch.float32).to(device), layer)
        # A tensor and not a number: compiled code need not be made anew for another strength.
        self.strength: Tensor
        self.register_buffer("strength", torch.ones((), device=device), persistent=False)

    def forward(self, x: Tensor, y: Tensor, base: Linear) -> Tensor:
        """x [.. in], y = W x + b [.. out] -> the change [.. out], in the type of y."""
        down, up = (matrix.flatten(1).to(x.dtype) for matrix in (self.down, self.up))
        change = F.linear(self.strength * (self.scale * F.linear(x, down)), up)  # scaled where it is narrow
        if self.magnitude is not None:
            gain = self._gain(base)  # near 1: what is above that is lost where it is rounded first
            product = y if base.bias is None else y - base.bias
            change = (self.strength * (gain - 1)).to(y.dtype) * product + gain.to(y.dtype) * change
        return change.to(y.dtype)

    def layer(self) -> Layer:
        """What it has learned by now, as data on the CPU."""
        down, up, magnitude = (
            None if tensor is None else tensor.detach().cpu() for tensor in (self.down, self.up, self.magnitude)
        )
        assert down is not None and up is not None
        return Layer(down, up, self.alpha, magnitude)

    def _gain(self, base: Linear) -> Tensor:
        """m / |W + s B A| [out]"""
        if self.gain is not None:
            return self.gain
        assert self.magnitude is not None
        return self.magnitude / row_norms(base.matrix(torch.float32), Layer(self.down, self.up, self.alpha))


@torch.no_grad()
def row_norms(weight: Tensor, layer: Layer) -> Tensor:
    """|W + alpha/r B A| over each row, float32 [out]."""
    return torch.linalg.vector_norm(changed(weight, layer), dim=1)


@torch.no_grad()
def change_of(weight: Tensor, layer: Layer) -> Tensor:
    """W' - W in float32, in the shape of W."""
    whole = changed(weight, layer)
    if layer.magnitude is not None:
        norms = torch.linalg.vector_norm(whole, dim=1)
        whole = (layer.magnitude.to(norms) / norms)[:, None] * whole
    return (whole - weight.flatten(1).float()).view(weight.shape)


def changed(weight: Tensor, layer: Layer) -> Tensor:
    """W + alpha/r B A in float32 [out in], whatever autocast says."""
    with torch.autocast(weight.device.type, enabled=False):
        down, up = (matrix.to(weight.device, torch.float32).flatten(1) for matrix in (layer.down, layer.up))
        return torch.addmm(weight.flatten(1).float(), up, down, alpha=layer.scale)
