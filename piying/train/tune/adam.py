"""Adam for weights that fill a card: states in 8 bits, in main memory if need be, steps inside the backward pass.

AdamW (arXiv:1711.05101) whose two moments are kept in 8 bits by blocks (arXiv:2110.02861), on a logarithmic scale and
rounded at random so that their means stay true. Each parameter is stepped as soon as its gradient is whole, so that no
two gradients of different parameters live at once; a norm over all is therefore not known in time, and what is clipped
is the root mean square of each update (arXiv:1804.04235, section 6). Weights in bfloat16 are rounded at random too
(arXiv:2010.06192): rounding to the nearest loses most steps of a fine-tuning.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any
from weakref import WeakMethod

import torch
from torch import Tensor

from piying.kernels.machine import serve
from piying.kernels.moments import BETAS, BLOCK, EPS, FIRST, SECOND, Codes, Key, Pace
from piying.parallel import ranks
from piying.train.optimizer import curve
from piying.train.recipe import OptimizerRecipe
from piying.train.seeds import noise_at
from piying.train.shards import is_split, local, total


class Adam:
    """What the loop steps (see `Optimizer`), for parameters of any precision and for shards of them.

    `fused`: each parameter is stepped inside the backward pass. `on_host`: states wait in main memory.
    """

    forgiving = True

    def __init__(
        self,
        parameters: Iterable[Tensor],
        recipe: OptimizerRecipe,
        steps: int,
        *,
        fused: bool,
        on_host: bool = False,
        seed: int = 0,
    ) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self.recipe, self.steps, self.seed = recipe, steps, seed
        self.states = [_Moments(local(parameter), on_host) for parameter in self.parameters]
        self._step = 0
        self._squares: list[Tensor] = []
        if fused:
            update = WeakMethod(self._update)  # Python does not see what autograd holds: a circle would never be freed
            for index, parameter in enumerate(self.parameters):
                parameter.register_post_accumulate_grad_hook(partial(_call, update, index))

    def descend(self, value: Tensor, step: int) -> Tensor:
        """Makes and applies the gradients of a loss: their norm. A loss that is not finite changes nothing."""
        self._step = step
        self._squares = []
        value = value.detach() if not _all_finite(value) else value
        if not value.requires_grad:
            return torch.full((), torch.nan, device=value.device)
        value.backward()
        for index, parameter in enumerate(self.parameters):
            if parameter.grad is not None:
                self._update(index)
        squares = torch.stack(self._squares).sum()
        return (total(squares) if is_split(self.parameters[0]) else squares).sqrt()

    def tensors(self) -> dict[str, Tensor]:
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # states on their way to main memory have arrived
        return {
            f"{index}.{name}": tensor for index, state in enumerate(self.states) for name, tensor in state.kept.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        for index, state in enumerate(self.states):
            for name, tensor in state.kept.items():
                tensor.copy_(tensors[f"{index}.{name}"])

    @torch.no_grad()
    def _update(self, index: int) -> None:
        """One step of one parameter; its gradient is gone afterwards."""
        parameter, state = self.parameters[index], self.states[index]
        assert parameter.grad is not None
        gradient, weight, split = local(parameter.grad), local(parameter), is_split(parameter)
        parameter.grad = None
        if not split and ranks.count() > 1:
            gradient = gradient.float()
            ranks.average([gradient])

        def mean(squares: Tensor) -> Tensor:
            return (total(squares) if split else squares) / parameter.numel()

        rate = self.recipe.rate * curve(self._step, self.steps, self.recipe.warmup, self.recipe.decay)
        pace = Pace(rate, 1 - rate * self.recipe.weight_decay, *(1 - beta ** (self._step + 1) for beta in BETAS))
        key = Key(self.seed, self._step, index, ranks.rank() if split else 0)
        kept = state.fetch(weight.device)
        self._squares.append(step(weight, gradient, kept, pace, key, mean))
        state.put(kept)


class _Moments:
    """Both moments of one parameter in 8 bits. `kept`: codes uint8 [N] and the largest of each block [N / BLOCK]."""

    def __init__(self, weight: Tensor, on_host: bool) -> None:
        blocks = -(-weight.numel() // BLOCK)
        device = torch.device("cpu") if on_host else weight.device
        pinned = on_host and weight.is_cuda

        def zeros(count: int, dtype: torch.dtype) -> Tensor:
            return torch.zeros(count, dtype=dtype, device=device, pin_memory=pinned)

        self.kept = {
            "first": zeros(blocks * BLOCK, torch.uint8),
            "first_largest": zeros(blocks, torch.float32),
            "second": zeros(blocks * BLOCK, torch.uint8),
            "second_largest": zeros(blocks, torch.float32),
        }

    def fetch(self, device: torch.device) -> dict[str, Tensor]:
        """What is kept, on a device: itself where it is there."""
        return {name: tensor.to(device, non_blocking=True) for name, tensor in self.kept.items()}

    def put(self, fetched: Mapping[str, Tensor]) -> None:
        """Back to where it is kept, which is nothing to do for itself."""
        for name, tensor in self.kept.items():
            tensor.copy_(fetched[name], non_blocking=True)


def _call(update: WeakMethod[Any], index: int, _: Tensor) -> None:
    if alive := update():
        alive(index)


def step(
    weight: Tensor,
    gradient: Tensor,
    kept: Mapping[str, Tensor],
    pace: Pace,
    key: Key,
    mean: Callable[[Tensor], Tensor],
) -> Tensor:
    """Steps a weight and the moments that are kept of it, in place: the sum of squares of the gradient.

    `mean` makes the mean over the whole parameter of a sum over this part of it. The gradient is used up.
    """
    if serve(weight) and weight.is_contiguous():
        from piying.kernels import adam as kernel

        return kernel.step(weight, gradient, kept, pace, key, mean)
    gradient = gradient.float()
    squares = gradient.square().sum()
    gradient.nan_to_num_(0, 0, 0)
    dice = noise_at(key.seed, "rounding", *key[1:], device=weight.device)
    first, second = (
        decode(kept[name].view(-1, BLOCK), kept[f"{name}_largest"], codes).flatten()[: weight.numel()].view_as(weight)
        for name, codes in (("first", FIRST), ("second", SECOND))
    )
    first.lerp_(gradient, 1 - BETAS[0])
    second.lerp_(gradient.square_(), 1 - BETAS[1])
    update = first.div(pace.first).div_(second.div(pace.second).sqrt_().add_(EPS))
    for name, moment, codes in (("first", first, FIRST), ("second", second, SECOND)):
        flat = torch.nn.functional.pad(moment.flatten(), (0, -moment.numel() % BLOCK)).view(-1, BLOCK)
        coded, largest = encode(flat, dice, codes)
        kept[name].copy_(coded.flatten())
        kept[f"{name}_largest"].copy_(largest)
    update.div_(mean(update.square().sum()).sqrt().clamp(min=1))
    whole = weight.float().mul_(pace.keep).sub_(update, alpha=pace.rate)
    weight.copy_(round_by_chance(whole, dice) if weight.dtype == torch.bfloat16 else whole)
    return squares


def encode(x: Tensor, dice: torch.Generator, codes: Codes) -> tuple[Tensor, Tensor]:
    """x [N BLOCK] -> codes uint8 [N BLOCK] and the largest magnitude of each row [N].

    A magnitude between two goes to one of them by chance, such that its mean is kept. Without a sign, what is below the
    smallest is kept as that: a second moment that falls to 0 makes its weight jump.
    """
    largest = x.abs().amax(1)
    share = (x.abs() / largest[:, None].clamp(min=1e-30)).clamp_(max=1)
    place = share.clamp(min=codes.low).log_().div_(codes.spacing).add_(codes.last)
    floor = place.floor_().clamp_(1, codes.last - 1)  # 1 at `low`, `last` at 1
    under, over = (torch.exp((floor + i - codes.last) * codes.spacing) for i in (0, 1))
    small = share < codes.low  # between 0 and the smallest
    under.masked_fill_(small, 0)
    over.masked_fill_(small, codes.low)
    floor.masked_fill_(small, 0)
    chance = (share - under).div_(over.sub_(under))
    if not codes.signed:
        chance.masked_fill_(small & (share > 0), 1.0)
    coded = (floor + (torch.rand(x.shape, generator=dice, device=x.device) < chance)).to(torch.uint8)
    if codes.signed:
        coded |= (x < 0).to(torch.uint8) << 7
    return coded, largest


def decode(coded: Tensor, largest: Tensor, codes: Codes) -> Tensor:
    """The way back, float32 [N BLOCK]."""
    return _table(codes, coded.device)[coded.int()].mul_(largest[:, None])


@cache
def _table(codes: Codes, device: torch.device) -> Tensor:
    """What each code stands for against the largest of its block."""
    table = torch.exp((torch.arange(codes.last + 1, device=device) - codes.last) * codes.spacing)
    table[0] = 0
    return torch.cat([table, -table]) if codes.signed else table


def round_by_chance(x: Tensor, dice: torch.Generator) -> Tensor:
    """float32 -> bfloat16, up or down such that the mean is kept."""
    bits = x.contiguous().view(torch.int32)
    below = torch.randint(0, 1 << 16, x.shape, generator=dice, device=x.device, dtype=torch.int32)
    return ((bits + below) & -(1 << 16)).view(torch.float32).bfloat16()


def _all_finite(value: Tensor) -> bool:
    """Whether the loss is finite on every rank."""
    return not bool(total((~value.detach().isfinite()).float()))
