"""Muon for the hidden matrices, AdamW for the rest, and one learning-rate curve over both."""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from piying.parallel import ranks
from piying.train.recipe import OptimizerRecipe

UNSCALED = 64**-0.5  # of the rate, for T5's queries: its heads are 64 wide
_QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalize(matrices: Tensor, iterations: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrix of each, roughly: singular values end between 0.7 and 1.2.

    A quintic Newton-Schulz iteration (Jordan et al., Muon, 2024). matrices [N R C] -> [N R C]; in bfloat16 on CUDA.
    """
    a, b, c = _QUINTIC
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    wide = x.shape[1] <= x.shape[2]
    x = x if wide else x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.mT).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are orthogonalized before they are applied; kernels of convolutions count as [out, rest].

    Updates have the size that AdamW's have (0.2 * sqrt(longer side), arXiv:2502.16982, equation 4), so rates and decay
    carry over. Matrices of one shape go through the iteration together.
    """

    def __init__(self, parameters: Iterable[Tensor], rate: float, weight_decay: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": rate, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape[0], parameter[0].numel()].append((parameter, parameter.grad))
            for (rows, columns), pairs in shapes.items():
                parameters, gradients = map(list, zip(*pairs, strict=True))
                for parameter in parameters:
                    if not self.state[parameter]:
                        self.state[parameter]["momentum"] = torch.zeros_like(parameter)
                momenta = [self.state[parameter]["momentum"] for parameter in parameters]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                nesterov = torch._foreach_lerp(gradients, momenta, group["momentum"])
                updates = orthogonalize(torch.stack([update.reshape(rows, columns) for update in nesterov]))
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(
                    parameters,
                    [update.view_as(parameter) for update, parameter in zip(updates, parameters, strict=True)],
                    alpha=-group["lr"] * 0.2 * max(rows, columns) ** 0.5,
                )


class Optimizer:
    """What the loop steps. `tensors` and `restore` carry its whole state through a checkpoint.

    A `forgiving` one waits for the gradients to be seen, and leaves out a step where they are not finite.
    """

    def __init__(self, model: nn.Module, recipe: OptimizerRecipe, steps: int, *, forgiving: bool = False):
        self.forgiving = forgiving
        named = list(model.named_parameters())
        self.parameters = [parameter for _, parameter in named]
        hidden = [(name, parameter) for name, parameter in named if is_hidden(name, parameter)]
        matrices = [parameter for name, parameter in hidden if not is_unscaled(name)]
        unscaled = [parameter for name, parameter in hidden if is_unscaled(name)]
        rest = [parameter for name, parameter in named if not is_hidden(name, parameter)]
        self.recipe, self.steps = recipe, steps
        self.parts: list[torch.optim.Optimizer] = []
        if matrices:
            self.parts.append(Muon(matrices, recipe.matrix_rate, recipe.weight_decay))
        if unscaled:
            self.parts.append(Muon(unscaled, UNSCALED * recipe.matrix_rate, recipe.weight_decay))
        if rest:
            self.parts.append(torch.optim.AdamW(rest, recipe.rate, (0.9, 0.98), weight_decay=recipe.weight_decay))
        self.rates = [part.param_groups[0]["lr"] for part in self.parts]

    def descend(self, value: Tensor, step: int) -> Tensor:
        """Makes, averages, clips, applies and clears the gradients of a loss: their norm. Steps count from 0."""
        value.backward()
        ranks.average([parameter.grad for parameter in self.parameters if parameter.grad is not None])
        norm = nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        lost = self.forgiving and not norm.isfinite()
        share = curve(step, self.steps, self.recipe.warmup, self.recipe.decay)
        for part, rate in zip(self.parts, self.rates, strict=True):
            part.param_groups[0]["lr"] = rate * share
            if not lost:
                part.step()
            part.zero_grad()
        return norm

    def tensors(self) -> dict[str, Tensor]:
        return {
            f"{index}.{parameter}.{key}": value
            for index, part in enumerate(self.parts)
            for parameter, state in part.state_dict()["state"].items()
            for key, value in state.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        for index, part in enumerate(self.parts):
            state: dict[int, dict[str, Tensor]] = defaultdict(dict)
            for name, value in tensors.items():
                owner, parameter, key = name.split(".")
                if int(owner) == index:
                    state[int(parameter)][key] = value
            part.load_state_dict({"state": dict(state), "param_groups": part.state_dict()["param_groups"]})


def is_hidden(name: str, parameter: Tensor) -> bool:
    """Whether Muon trains it: a matrix or a kernel inside a block. Modulations sit in norms and are not hidden."""
    return parameter.ndim >= 2 and "block" in name and "norm" not in name


def is_unscaled(name: str) -> bool:
    """Whether it makes the queries of T5's attention, whose logits nothing divides by the root of a head's width.

    At the full rate those logits drown the table of distances within some hundred steps, and with it who is what.
    """
    return name.endswith("attention.q.weight")


def curve(step: int, steps: int, warmup: int, decay: float) -> float:
    """Warm-up, steady, linear decay (arXiv:2405.18392): the share of the full rate at `step` of `steps`."""
    return min(1.0, (step + 1) / max(1, warmup), (steps - step) / max(1.0, decay * steps))
