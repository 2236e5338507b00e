"""Adam for weights that fill a card: states in 8 bits, in main memory if need be, steps inside the backward pass.

AdamW (arXiv:1711.05101) whose two moments are kept in 8 bits by blocks (arXiv:2110.02861), on a logarithmic scale and
rounded at random so that their means stay true. Each parameter is stepped as soon as its gradient is whole, so that no
two gradients of different parameters live at once; a norm over all is therefore not known in time, and what is clipped
is the root mean square of each update (arXiv:1804.04235, section 6). Weights in bfloat16 are rounded at random too
(arXiv:2010.06192): rounding to the nearest loses most steps of a fine-tuning.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from piying.parallel import ranks
from piying.train.optimizer import curve
from piying.train.recipe import OptimizerRecipe
from piying.train.seeds import noise_at
from piying.train.shards import is_split, local, total

BLOCK = 256  # values that share a largest one
BETAS, EPS = (0.9, 0.98), 1e-8
_RANGE = {True: 1e-5, False: 1e-8}  # of kept magnitudes against the largest of their block: first, second moment


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
            for index, parameter in enumerate(self.parameters):
                parameter.register_post_accumulate_grad_hook(lambda p, index=index: self._update(index))

    def descend(self, value: Tensor, step: int) -> Tensor:
        """Makes and applies the gradients of a loss: their norm. A loss that is not finite changes nothing."""
        self._step = step
        self._squares = []
        value = value.detach() if not _all_finite(value) else value
        if not value.requires_grad:
            return torch.full((), torch.nan)
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
        gradient, weight = local(parameter.grad).float(), local(parameter)
        if not is_split(parameter):
            ranks.average([gradient])
        self._squares.append(gradient.square().sum())
        gradient = gradient.nan_to_num(0, 0, 0)
        parameter.grad = None
        dice = noise_at(self.seed, "rounding", self._step, index, *_shard_key(parameter), device=weight.device)
        first, second = state.unpack(weight.device)
        first.lerp_(gradient, 1 - BETAS[0])
        second.lerp_(gradient.square_(), 1 - BETAS[1])
        root = second.div(1 - BETAS[1] ** (self._step + 1)).sqrt_().add_(EPS)
        update = first.div(1 - BETAS[0] ** (self._step + 1)).div_(root)
        state.pack(first, second, dice)
        squares = update.square().sum()
        size = (total(squares) if is_split(parameter) else squares) / parameter.numel()
        update.div_(size.sqrt().clamp(min=1))
        rate = self.recipe.rate * curve(self._step, self.steps, self.recipe.warmup, self.recipe.decay)
        whole = weight.float().mul_(1 - rate * self.recipe.weight_decay).sub_(update, alpha=rate)
        weight.copy_(round_by_chance(whole, dice) if weight.dtype == torch.bfloat16 else whole)


class _Moments:
    """Both moments of one parameter in 8 bits. `kept`: codes uint8 [N] and the largest of each block [N / BLOCK]."""

    def __init__(self, weight: Tensor, on_host: bool) -> None:
        self.shape = weight.shape
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

    def unpack(self, device: torch.device) -> tuple[Tensor, Tensor]:
        here = {name: tensor.to(device, non_blocking=True) for name, tensor in self.kept.items()}
        count = self.shape.numel()
        first, second = (
            decode(here[name].view(-1, BLOCK), here[f"{name}_largest"], signed=signed).flatten()[:count]
            for name, signed in (("first", True), ("second", False))
        )
        return first.view(self.shape), second.view(self.shape)

    def pack(self, first: Tensor, second: Tensor, dice: torch.Generator) -> None:
        for name, moment, signed in (("first", first, True), ("second", second, False)):
            flat = torch.nn.functional.pad(moment.flatten(), (0, -moment.numel() % BLOCK)).view(-1, BLOCK)
            codes, largest = encode(flat, dice, signed=signed)
            self.kept[name].copy_(codes.flatten(), non_blocking=True)
            self.kept[f"{name}_largest"].copy_(largest, non_blocking=True)


def encode(x: Tensor, dice: torch.Generator, *, signed: bool) -> tuple[Tensor, Tensor]:
    """x [N BLOCK] -> codes uint8 [N BLOCK] and the largest magnitude of each row [N].

    Code 0 is 0; 1 to the last are magnitudes at even distances of their logarithm, the last the largest; a sign takes
    a bit. A magnitude between two goes to one of them by chance, such that its mean is kept. Without a sign, what is
    below the smallest is kept as that: a second moment that falls to 0 makes its weight jump.
    """
    largest = x.abs().amax(1)
    ratio = largest[:, None].clamp(min=1e-30)
    share = (x.abs() / ratio).clamp_(max=1)
    last, low = (127, 255)[not signed], _RANGE[signed]
    spacing = -torch.log(torch.tensor(low)).item() / (last - 1)
    place = (share.clamp(min=low).log_() / spacing + last).clamp_(1, last)  # 1 at `low`, `last` at 1
    floor = place.floor().clamp_(max=last - 1)
    under, over = (torch.exp((floor + i - last) * spacing) for i in (0, 1))
    small = share < low  # between 0 and the smallest
    under, over, floor = under.masked_fill(small, 0), over.masked_fill(small, low), floor.masked_fill(small, 0)
    chance = (share - under) / (over - under)
    if not signed:
        chance = chance.masked_fill(small & (share > 0), 1.0)
    drawn = torch.rand(x.shape, generator=dice, device=x.device)
    codes = (floor + (drawn < chance)).to(torch.uint8)
    if signed:
        codes |= (x < 0).to(torch.uint8) << 7
    return codes, largest


def decode(codes: Tensor, largest: Tensor, *, signed: bool) -> Tensor:
    """The way back, float32 [N BLOCK]."""
    last = 127 if signed else 255
    spacing = -torch.log(torch.tensor(_RANGE[signed])).item() / (last - 1)
    table = torch.exp((torch.arange(last + 1, device=codes.device) - last) * spacing)
    table[0] = 0
    if signed:
        table = torch.cat([table, -table])
    return table[codes.int()] * largest[:, None]


def round_by_chance(x: Tensor, dice: torch.Generator) -> Tensor:
    """float32 -> bfloat16, up or down such that the mean is kept."""
    bits = x.contiguous().view(torch.int32)
    below = torch.randint(0, 1 << 16, x.shape, generator=dice, device=x.device, dtype=torch.int32)
    return ((bits + below) & -(1 << 16)).view(torch.float32).bfloat16()


def _shard_key(parameter: Tensor) -> tuple[int, ...]:
    """Shards of one parameter draw apart; copies of it draw the same."""
    return (ranks.rank(),) if is_split(parameter) else ()


def _all_finite(value: Tensor) -> bool:
    """Whether the loss is finite on every rank."""
    return not bool(total((~value.detach().isfinite()).float()))
