"""What a fine-tuning minimises: the error of v against the clip, or against the base where it is to stay what it is."""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from piying.adapters.attach import Fitted, attached
from piying.models.transformer import Transformer
from piying.sampling.schedule import add_noise, velocity
from piying.train.loop import Facts
from piying.train.loss import by_band, level_weights
from piying.train.tune.examples import Example

OFS = 2.0  # the offset that 1.5 image-to-video was published with
Learner = Callable[[nn.Module, Example], tuple[Tensor, Facts]]


def lesson(transformer: Transformer, alpha: Tensor, weighting: str, *, together: bool = False) -> Learner:
    """The loss of (what is trained, an example). alpha [timesteps] of the schedule, float64.

    What is trained is the transformer itself, or an adapter that is on it. Targets and errors are float32, whatever
    the weights are. `together`: all ranks run the base or none does, since each holds a part of it; whether any row is
    preserved is then no reason.
    """

    def loss(model: nn.Module, example: Example) -> tuple[Tensor, Facts]:
        level = alpha[example.timesteps]
        share = level.float()[:, None, None, None, None]
        x = add_noise(example.x0, example.noise, share)
        target = velocity(example.x0, example.noise, share)
        rows = example.preserved
        if together:
            with torch.no_grad(), attached(transformer):
                base = predict(transformer, x, example)
            target = torch.where(rows[:, None, None, None, None], base, target)
        elif rows.any():
            with torch.no_grad(), attached(transformer):
                target[rows] = predict(transformer, x[rows], _only(rows, example))
        learner = model if isinstance(model, Transformer) else transformer  # or the average of one
        errors = (predict(learner, x, example) - target).square().flatten(1).mean(1)
        weights = level_weights(level.logit()).float() if weighting == "flow" else torch.ones_like(errors)
        learned = torch.where(rows, torch.nan, errors)
        kept = torch.where(rows, errors, torch.nan)
        return (weights * errors).mean(), {"v": learned, "kept": kept, **by_band(learned, level.logit())}

    return loss


def predict(transformer: Transformer, x: Tensor, example: Example) -> Tensor:
    """v float32 of noisy latents [B F C h w], with what else the example gives."""
    dtype = transformer.proj_out.weight.dtype
    x = x if example.condition is None else torch.cat([x, example.condition], dim=2)
    ofs = None if transformer.config.ofs_width is None else torch.full((len(x),), OFS, device=x.device, dtype=dtype)
    return transformer(x.to(dtype), example.text, example.timesteps, ofs).float()


def _only(rows: Tensor, example: Example) -> Example:
    """The rows [B] of an example that are marked."""
    return Example._make(None if tensor is None else tensor[rows] for tensor in example)


@torch.no_grad()
def measure(
    loss: Learner, transformer: Transformer, model: nn.Module, held_out: dict[str, list[Example]]
) -> dict[str, float]:
    """The mean error of v at each level, with this adapter alone on the transformer; nothing without held-out clips."""
    found = {}
    with attached(transformer, model) if isinstance(model, Fitted) else nullcontext():
        for name, examples in held_out.items():
            errors = [loss(model, example)[1]["v"] for example in examples]
            if errors:
                found[name] = torch.cat(errors).mean().item()
    return found
