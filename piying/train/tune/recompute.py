"""Blocks whose inputs and attention alone are kept for the way back, where all else is computed once more.

Gradient checkpointing (arXiv:1604.06174), but for attention, which is half of a block's work at the lengths of video
and whose result is small. What is kept may wait in main memory; what a block needs to run, its weights, may be brought
by `around`, on the way there in order and on the way back in reverse.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from piying.models.transformer import Transformer
from piying.train.tune.parked import Parking

Around = Callable[[int, bool], AbstractContextManager[None]]  # index of the block, whether on the way back

_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
}


class _Kept(TorchDispatchMode):
    """What attention gives inside: remembered on the way there (`given` is None), given again on the way back."""

    def __init__(self, given: list[Any] | None = None) -> None:
        super().__init__()
        self.found: list[Any] = []
        self._given = given

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _ATTENTION:
            return func(*args, **(kwargs or {}))
        if self._given is not None:
            return self._given.pop(0)
        result = func(*args, **(kwargs or {}))
        self.found.append(result)
        return result


@dataclass(frozen=True)
class _Run:
    """One block of one pass: how it is run, and where what it needs is kept."""

    index: int
    block: Callable[..., Tensor]
    around: Callable[[bool], AbstractContextManager[None]]
    parking: Parking | None
    turns: Tensor | None
    text_tokens: int


class _Recomputed(torch.autograd.Function):
    """One block. Gradients of its parameters accumulate in the middle of the backward pass, as their hooks expect."""

    @staticmethod
    def forward(ctx: Any, run: _Run, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        ctx.run, ctx.autocast = run, _autocast(x.device.type)
        inputs = [tensor.detach().requires_grad_() for tensor in (x, first, second)]
        # with gradients, or attention would not say what its way back needs
        with run.around(False), torch.enable_grad(), _Kept() as kept:
            y = run.block(inputs[0], (inputs[1], inputs[2]), run.turns, run.text_tokens).detach()
        large = [x.detach(), *(result[0].detach() for result in kept.found)]
        ctx.small = [[part.detach() if isinstance(part, Tensor) else part for part in one[1:]] for one in kept.found]
        if run.parking:
            run.parking.leave(run.index, large)
            ctx.save_for_backward(first, second)
        else:
            ctx.save_for_backward(first, second, *large)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        run: _Run = ctx.run
        first, second, *large = ctx.saved_tensors
        x, *attention = run.parking.fetch(run.index) if run.parking else large
        inputs = [tensor.detach().requires_grad_() for tensor in (x, first, second)]
        given = [(whole, *rest) for whole, rest in zip(attention, ctx.small, strict=True)]
        with run.around(True):
            with torch.enable_grad(), ctx.autocast(), _Kept(given):
                y = run.block(inputs[0], (inputs[1], inputs[2]), run.turns, run.text_tokens)
            torch.autograd.backward(y, gradients[0])
        return (None, *(tensor.grad for tensor in inputs))


@contextmanager
def recomputed(transformer: Transformer, *, on_host: bool = False, around: Around | None = None) -> Iterator[None]:
    """Inside, a backward pass holds one block's activations, and of each block its input and what its attention gave,
    in main memory where `on_host`."""
    blocks: Sequence[nn.Module] = list(transformer.transformer_blocks)
    parking = Parking(transformer.proj_out.weight.device) if on_host else None
    for index, block in enumerate(blocks):
        block.forward = _wrapped(block.forward, index, parking, around)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # the class's own is back


def _wrapped(
    run: Callable[..., Tensor], index: int, parking: Parking | None, around: Around | None
) -> Callable[..., Tensor]:
    def at(back: bool) -> AbstractContextManager[None]:
        return around(index, back) if around else nullcontext()

    def forward(x: Tensor, modulations: tuple[Tensor, Tensor], turns: Tensor | None, text_tokens: int) -> Tensor:
        if not torch.is_grad_enabled():
            with at(False):
                return run(x, modulations, turns, text_tokens)
        x = x if x.requires_grad else x.detach().requires_grad_()  # else nothing would ask for a way back
        result: Tensor = _Recomputed.apply(_Run(index, run, at, parking, turns, text_tokens), x, *modulations)
        return result

    return forward


def _autocast(device: str) -> Callable[[], AbstractContextManager[Any]]:
    """What autocast says now, for later."""
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    return lambda: torch.autocast(device, dtype, enabled=enabled)
