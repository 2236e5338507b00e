"""What each stage minimizes. A loss answers with the value to descend and what is worth a line in the log."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

BANDS = (-4.0, -2.0, 0.0, 2.0, 4.0)  # log-SNR; the log reports the loss between each two
LEVELS = 3  # of the Laplacian pyramid


def draw_timesteps(
    log_snrs: Tensor, count: int, mean: float, deviation: float, uniform: float, generator: torch.Generator
) -> Tensor:
    """Timesteps [count] whose log-SNR is nearest to draws of N(mean, deviation^2) (after arXiv:2206.00364, section 5).

    A share `uniform` of them is any timestep instead: a sampler begins where the normal draw hardly ever comes.
    log_snrs [T] of the schedule, falling; the last may be -inf and is then never the nearest.
    """
    device = log_snrs.device
    wanted = torch.randn(count, generator=generator, device=device, dtype=log_snrs.dtype) * deviation + mean
    anywhere = torch.randint(len(log_snrs), (count,), generator=generator, device=device)
    spread = torch.rand(count, generator=generator, device=device) < uniform
    return torch.where(spread, anywhere, nearest(log_snrs, wanted))


def nearest(log_snrs: Tensor, wanted: Tensor) -> Tensor:
    """The timestep of each level that is wanted, as `draw_timesteps` says."""
    return torch.searchsorted(-(log_snrs[1:] + log_snrs[:-1]) / 2, -wanted)


def level_weights(log_snrs: Tensor) -> Tensor:
    """1 / (t^2 + (1 - t)^2) with t = sigmoid(-log-SNR / 2): 2 midway, 1 at both ends.

    It turns the squared error of v into that of the straight-line velocity of flow matching (arXiv:2403.03206,
    section 2) at the same signal-to-noise ratio, t being the share of noise there.
    """
    t = torch.sigmoid(-log_snrs / 2)
    return 1 / (t**2 + (1 - t) ** 2)


def velocity_error(v: Tensor, target: Tensor, log_snrs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted squared error of v [B ...] against its target, and the plain error in each band of log-SNR [B]."""
    errors = (v.float() - target).square().flatten(1).mean(1)
    return (level_weights(log_snrs).float() * errors).mean(), {"v": errors, **by_band(errors, log_snrs)}


def by_band(errors: Tensor, log_snrs: Tensor) -> dict[str, Tensor]:
    """errors [B] under the name of each band, nan where a sample's log-SNR [B] lies elsewhere."""
    edges = (-torch.inf, *BANDS, torch.inf)
    middle = [f"v{low:+g}{high:+g}" for low, high in pairwise(BANDS)]
    names = [f"v<{BANDS[0]:+g}", *middle, f"v>{BANDS[-1]:+g}"]
    return {
        name: torch.where((log_snrs >= low) & (log_snrs < high), errors, torch.nan)
        for name, (low, high) in zip(names, pairwise(edges), strict=True)
    }


def reconstruction_error(
    pixels: Tensor, target: Tensor, mean: Tensor, logvar: Tensor, *, pyramid: float, motion: float, kl: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Absolute error, the same in each band of a Laplacian pyramid and of what changes from frame to frame, and KL.

    pixels and target [B 3 F H W] in -1..1; mean and logvar [B C f h w]. All terms are means over their elements.
    """
    error = pixels.float() - target
    terms = {
        "absolute": error.abs().mean(),
        "pyramid": pyramid_error(error),
        "motion": error.diff(dim=2).abs().mean(),
        "kl": 0.5 * (mean.float().square() + logvar.float().exp() - 1 - logvar.float()).mean(),
    }
    loss = terms["absolute"] + pyramid * terms["pyramid"] + motion * terms["motion"] + kl * terms["kl"]
    return loss, {**terms, "psnr": psnr(error)}


def pyramid_error(error: Tensor) -> Tensor:
    """Sum over the bands of a Laplacian pyramid (Burt and Adelson, 1983) of their mean absolute value.

    Each level halves height and width. The pyramid is linear: that of the error [B 3 F H W] is the error of pyramids.
    """
    band = error.transpose(1, 2).flatten(0, 1)
    total = error.new_zeros(())
    for _ in range(LEVELS):
        low = F.avg_pool2d(band, 2)
        total = total + (band - F.interpolate(low, scale_factor=2)).abs().mean()
        band = low
    return total + band.abs().mean()


def psnr(error: Tensor) -> Tensor:
    """dB of a difference of pixels in -1..1, over all of it."""
    return -10 * torch.log10(error.detach().square().mean() / 4)


def fact_error(answers: Sequence[Tensor], facts: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross-entropy, and the share of right answers, each where something is told and where not.

    Both weigh the same: most questions have no answer in most captions, and would drown those that have one.
    answers: logits [Q B classes] of questions of one kind each; facts [B, all Q] of classes, 0 where nothing is told.
    """
    wanted = facts.T.split([len(logits) for logits in answers])
    pairs = list(zip(answers, wanted, strict=True))
    error = torch.cat(
        [F.cross_entropy(logits.float().permute(1, 2, 0), fact.T, reduction="none").T for logits, fact in pairs]
    )
    right = torch.cat([logits.argmax(2) == fact for logits, fact in pairs]).float()
    told = (facts.T > 0).float()
    numbers = {"told": _mean(right, told), "untold": _mean(right, 1 - told)}
    return (_mean(error, told) + _mean(error, 1 - told)) / 2, numbers


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Without a look at the weights, for which a GPU would be waited for."""
    return (values * weights).sum() / weights.sum()
