"""Which levels of noise a fine-tuning sees, spread evenly over its samples, and where held-out losses are measured."""

import torch
from torch import Tensor

from piying.train.loss import nearest
from piying.train.seeds import draw_at

HELD_OUT = (-6.0, -4.0, -2.0, 0.0, 2.0)  # log-SNR
STRATA = 32  # samples in a row of which each has a stratum of its own


def stratified(seed: int, first: int, count: int) -> list[float]:
    """Places in 0..1 for the samples `first`, `first` + 1, ... of a training, one in each stratum of STRATA in a row.

    A batch of one sees all levels within STRATA steps, where independent draws leave gaps.
    """
    places = []
    for index in range(first, first + count):
        window, within = divmod(index, STRATA)
        stratum = draw_at(seed, "strata", window).sample(range(STRATA), STRATA)[within]
        places.append((stratum + draw_at(seed, "place", index).random()) / STRATA)
    return places


def timesteps_at(places: list[float], log_snrs: Tensor, shape: tuple[float, float] | None) -> Tensor:
    """The timestep of each place [B]: evenly over all (None), or such that log-SNR is normal (mean, deviation).

    log_snrs [T] of the schedule, falling; the last may be -inf and is then never the nearest.
    """
    at = torch.tensor(places, dtype=torch.float64, device=log_snrs.device)
    if shape is None:
        return (at * len(log_snrs)).long()
    mean, deviation = shape
    return nearest(log_snrs, mean + deviation * torch.special.ndtri(at.clamp(1e-6, 1 - 1e-6)))


def held_out_timesteps(log_snrs: Tensor) -> dict[str, int]:
    """The timestep nearest to each held-out level, by its name in the log, and the last, all noise."""
    found = nearest(log_snrs, torch.tensor(HELD_OUT).to(log_snrs))
    places = {f"v at {level:+g}": int(place) for level, place in zip(HELD_OUT, found, strict=True)}
    return {**places, "v at the end": len(log_snrs) - 1}
