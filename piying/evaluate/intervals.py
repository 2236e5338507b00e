"""Confidence intervals in closed form: a rate, a difference of two rates, a mean."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist, fmean, stdev

from piying.errors import UsageError


@dataclass(frozen=True)
class Estimate:
    """A number, the ends of its 95 % interval, and how many trials stand behind it."""

    value: float
    low: float
    high: float
    trials: int


Z = NormalDist().inv_cdf(0.975)


def rate(successes: int, trials: int) -> Estimate:
    """A proportion with its 95 % score interval (Wilson 1927, J. Am. Stat. Assoc. 22, p. 209).

    Raises UsageError unless 0 <= successes <= trials and trials > 0.
    """
    if not 0 <= successes <= trials or trials == 0:
        raise UsageError(f"{successes} of {trials}: a rate needs 0 <= successes <= trials and one trial, e.g. 9 of 10")
    return _wilson(successes / trials, trials, trials)


def clustered(groups: Sequence[Sequence[bool]]) -> Estimate:
    """A proportion over trials that come in groups, as videos of one prompt do: Wilson's interval at the number of
    independent trials that would vary as much (the effective sample size of Kish 1965, Survey Sampling), at most all,
    and with Student's quantile, for the spread is known from so many groups alone.

    Where all groups are alike nothing tells how alike their trials are, and each group is one trial. Raises UsageError
    where there is no trial.
    """
    sizes, sums, count = [len(group) for group in groups], [sum(group) for group in groups], len(groups)
    plain = rate(sum(sums), trials := sum(sizes))
    if count == trials:
        return plain
    spread = sum((found * trials - sum(sums) * size) ** 2 for found, size in zip(sums, sizes, strict=True))
    if not spread:
        return _wilson(plain.value, count, trials)
    effective = plain.value * (1 - plain.value) * trials**4 * (count - 1) / (spread * count)
    return _wilson(plain.value, min(effective, trials), trials, student(count - 1))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b for two independent rates: Newcombe's interval, built from Wilson's ends (Newcombe 1998, method 10)."""
    low = math.hypot(a.value - a.low, b.high - b.value)
    high = math.hypot(a.high - a.value, b.value - b.low)
    value = a.value - b.value
    return Estimate(value, max(-1.0, value - low), min(1.0, value + high), min(a.trials, b.trials))


def paired(a: Sequence[Sequence[bool]], b: Sequence[Sequence[bool]]) -> Estimate:
    """a - b for two rates over the same groups, one beside the other: Student's interval of the groups' differences.

    Where these are all alike nothing tells their spread, and the rates are taken for independent.
    """
    apart = [round(fmean(ours) - fmean(theirs), 9) for ours, theirs in zip(a, b, strict=True)]
    if len(set(apart)) == 1:
        return difference(clustered(a), clustered(b))
    found, trials = mean(apart), min(sum(map(len, a)), sum(map(len, b)))
    return Estimate(found.value, max(-1.0, found.low), min(1.0, found.high), trials)


def mean(values: Sequence[float], groups: Sequence[int] | None = None) -> Estimate:
    """The mean with its 95 % interval (Student 1908, Biometrika 6, p. 1); where values come in groups, as videos of one
    scene do, that of the groups' means, and `groups` [values] says which one each is of.

    Of a single group nothing tells the spread, and the interval is its value. Raises UsageError for no values.
    """
    if not values:
        raise UsageError("no values: a mean needs at least one")
    by_group: dict[int, list[float]] = defaultdict(list)
    for value, group in zip(values, range(len(values)) if groups is None else groups, strict=True):
        by_group[group].append(value)
    means = [fmean(group) for group in by_group.values()]
    centre, count = fmean(means), len(means)
    half = student(count - 1) * stdev(means) / math.sqrt(count) if count > 1 else 0.0
    return Estimate(centre, centre - half, centre + half, len(values))


@cache
def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: bisection of its distribution, which is a finite sum (Abramowitz and Stegun
    1964, Handbook of Mathematical Functions, 26.7.3 and 26.7.4)."""

    def within(angle: float) -> float:
        """The share between -t and t, where t is sqrt(freedom) tan(angle)."""
        odd, total = freedom % 2, 0.0
        term = math.cos(angle) if odd else 1.0
        for power in range(odd, freedom - 1, 2):
            total += term
            term *= (power + 1) / (power + 2) * math.cos(angle) ** 2
        return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < 0.95 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _wilson(p: float, effective: float, trials: int, z: float = Z) -> Estimate:
    """Wilson's interval of a proportion as of so many independent trials."""
    z2 = z * z
    centre = (p + z2 / (2 * effective)) / (1 + z2 / effective)
    half = z / (1 + z2 / effective) * math.sqrt(p * (1 - p) / effective + z2 / (4 * effective * effective))
    return Estimate(p, max(0.0, centre - half), min(1.0, centre + half), trials)
