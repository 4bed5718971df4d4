"""Statistics: paired ratios with their 95 % intervals, and verdicts. docs/measuring.md shows how they were checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from .extra import need

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "CONFIDENCE",
    "FASTER",
    "NO_DIFFERENCE",
    "SLOWER",
    "TOO_FEW_ROUNDS",
    "Ratio",
    "enough_rounds",
    "median_interval",
    "ratio",
    "round_ratios",
    "scatter",
    "share_held",
    "verdict",
]

FASTER = "faster"
SLOWER = "slower"
NO_DIFFERENCE = "no difference seen"
TOO_FEW_ROUNDS = "too few rounds"

CONFIDENCE = 0.95

_ENOUGH_ROUNDS = 5
_ENOUGH_ROUNDS_ALONE = 6


@dataclass(frozen=True)
class Ratio:
    """An arm's value as a multiple of the first arm's, with its 95 % interval (None with fewer than two rounds)."""

    estimate: float
    low: float | None = None
    high: float | None = None
    rounds: int = 1

    def noise(self) -> float | None:
        """How far the interval reaches from 1, as the absolute logarithm of a ratio; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return max(abs(math.log(self.low)), abs(math.log(self.high)))


def enough_rounds(has_noise: bool) -> int:
    """The fewest rounds that allow a verdict; one more where no A/A arm (`has_noise`) keeps luck from having a say.

    The range of 5 rounds holds the true median in 94 % of all cases, and so says ``faster`` of equals in 3.1 %.
    """
    return _ENOUGH_ROUNDS if has_noise else _ENOUGH_ROUNDS_ALONE


def share_held(rounds: int) -> float:
    """The share of cases in which the range of so few rounds, their widest interval, holds the true median."""
    return 1 - 2.0 ** (1 - rounds)


def round_ratios(values: Mapping[int, float], baseline: Mapping[int, float]) -> list[float]:
    """One ratio for every round that both arms finished; values by round."""
    return [value / baseline[round_index] for round_index, value in values.items() if round_index in baseline]


def ratio(ratios: Sequence[float]) -> Ratio:
    """The median of the rounds' ratios and its interval: what the median of endless rounds would be.

    The median, because no outlier is ever deleted here and one disturbed round must not decide. Of logarithms, so that
    a time and the rate that is its inverse give inverse results.
    """
    if not ratios:
        raise ValueError("no rounds to compare")
    numpy = need("numpy")
    logs = numpy.log(numpy.asarray(ratios, dtype=float))
    estimate = math.exp(numpy.median(logs))
    if len(ratios) < 2:
        return Ratio(estimate)
    low, high = median_interval(logs)
    return Ratio(estimate, math.exp(low), math.exp(high), len(ratios))


def median_interval(values: Any) -> tuple[Any, Any]:
    """The 95 % interval of the median along the last axis: one experiment in each row, or one alone.

    Counted from either end, the k-th value is beyond the true median with a chance that only the number of values
    decides (the sign test's). The interval is interpolated between the two k that enclose 95 %; below 6 values it is
    their range. It asks nothing of the noise's shape, and gives the same for the same values. A percentile bootstrap
    of the median picks from the same values without interpolating, and holds the truth in 87 % of 7 rounds.

    Interpolation as in T. P. Hettmansperger and S. J. Sheather, "Confidence intervals based on interpolated order
    statistics", Statistics & Probability Letters 4 (1986).
    """
    ordered = need("numpy").sort(values, axis=-1)
    depth, part = _depth(ordered.shape[-1])
    low, high = ordered[..., depth - 1], ordered[..., -depth]
    return low + part * (ordered[..., depth] - low), high + part * (ordered[..., -depth - 1] - high)


@cache
def _depth(count: int) -> tuple[int, float]:
    """Which value from either end the interval begins at, counted from 1, and the part of the step to the next one."""
    binom = need("scipy.stats").binom

    def held(depth: int) -> float:
        return 1 - 2 * float(binom.cdf(depth - 1, count, 0.5))

    depth = 1
    while held(depth + 1) >= CONFIDENCE:
        depth += 1
    if held(depth) <= CONFIDENCE:
        return depth, 0.0
    share = (held(depth) - CONFIDENCE) / (held(depth) - held(depth + 1))
    return depth, (count - depth) * share / (depth + (count - 2 * depth) * share)


def verdict(of: Ratio, noise: Ratio | None, higher_is_better: bool = True) -> str:
    """``faster`` or ``slower`` only where the interval excludes 1 and the effect is larger than the A/A noise.

    With fewer than `enough_rounds()` the interval is too often too narrow to say either.
    """
    enough = enough_rounds(noise is not None)
    if of.rounds < enough or (noise is not None and noise.rounds < enough):
        return TOO_FEW_ROUNDS
    if of.low is None or of.high is None or of.low <= 1.0 <= of.high:
        return NO_DIFFERENCE
    floor = None if noise is None else noise.noise()
    if floor is not None and abs(math.log(of.estimate)) <= floor:
        return NO_DIFFERENCE
    return FASTER if (of.estimate > 1.0) == higher_is_better else SLOWER


def scatter(samples: Sequence[float]) -> float:
    """Standard deviation as a fraction of the mean (0 for fewer than two values)."""
    if len(samples) < 2:
        return 0.0
    mean = sum(samples) / len(samples)
    return math.sqrt(sum((value - mean) ** 2 for value in samples) / (len(samples) - 1)) / mean
