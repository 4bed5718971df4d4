"""Experiments whose truth is known, by the thousand: intervals hold it as often as they say, and equals stay equal.

A sample's value is the speed of the machine just then, which all arms share, times the arm's own, times noise. The
truth is the median of an arm's ratio to the first arm within a round, over endless rounds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from llamasmith.lab.plan import order
from llamasmith.lab.stats import FASTER, SLOWER, Ratio, median_interval, ratio, round_ratios, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Values = NDArray[np.float64]

stats = pytest.importorskip("scipy.stats")

BASELINE, ARM, AGAIN = 0, 1, 2
SD = 0.02  # of a sample's own noise

# Everybody's noise. "drift" is a machine whose speed wanders within rounds too. In "one disturbed" a tenth of the
# samples of one arm alone are slow, so that its ratios lean to one side.
NOISES = ("normal", "heavy tails", "skewed", "outliers", "drift", "one disturbed")


def own_noise(random: np.random.Generator, kind: str, shape: tuple[int, ...], sd: float) -> Values:
    """Of single samples, in logarithms of a rate."""
    if kind == "heavy tails":
        return sd / math.sqrt(3) * random.standard_t(3, shape)
    if kind == "skewed":  # a long tail of slow samples, of the same standard deviation
        return -sd / 2.161 * random.lognormal(0, 1, shape)
    noise = random.normal(0, sd, shape)
    if kind == "outliers":  # one sample in ten is 30 % slower
        noise += np.where(random.random(shape) < 0.1, math.log(0.7), 0.0)
    return noise


def machine(random: np.random.Generator, kind: str, experiments: int, samples: int) -> Values:
    """The machine's own speed at each sample of an experiment, in logarithms."""
    if kind == "trend":  # it loses a fifth from the first sample to the last
        return np.broadcast_to(np.linspace(0, math.log(0.8), samples), (experiments, samples))
    speed = np.zeros((experiments, samples))
    if kind == "drift":  # a 5 % wander, of which 90 % is left at the next sample
        speed[:, 0] = random.normal(0, 0.05, experiments)
        for now in range(1, samples):
            speed[:, now] = 0.9 * speed[:, now - 1] + random.normal(0, 0.05 * math.sqrt(1 - 0.81), experiments)
    return speed


def simulate(
    kind: str, rounds: int, experiments: int, *, seed: int = 1, sd: float = SD, arms: int = 3, truth: float = 1.0
) -> Values:
    """Rates by arm, experiment and round, measured in the order of a real experiment. All arms but `ARM` are equal."""
    random = np.random.default_rng(seed)
    logs = np.stack(
        [
            own_noise(random, "outliers" if kind == "one disturbed" and arm == ARM else kind, (experiments, rounds), sd)
            for arm in range(arms)
        ]
    )
    shared = machine(random, kind, experiments, arms * rounds)
    for round_index in range(rounds):
        for position, arm in enumerate(order(arms, round_index)):
            logs[arm, :, round_index] += shared[:, round_index * arms + position]
    logs[ARM] += math.log(truth) - lean(kind, sd)
    # From round to round the machine is another one: 20 % up and down.
    return np.exp(logs + random.normal(0, 0.2, (1, experiments, rounds)))


def lean(kind: str, sd: float) -> float:
    """The median of the log of a ratio of equal arms."""
    if kind != "one disturbed":
        return 0.0  # both sides of the ratio have the same noise
    random = np.random.default_rng(99)
    size = (1_000_000,)
    return float(np.median(own_noise(random, "outliers", size, sd) - own_noise(random, "normal", size, sd)))


def rate(values: Values, arm: int, experiment: int) -> dict[int, float]:
    return dict(enumerate(values[arm, experiment].tolist()))


def ratios(values: Values, arm: int) -> list[Ratio]:
    """Of every experiment, as a record has them."""
    return [
        ratio(round_ratios(rate(values, arm, experiment), rate(values, BASELINE, experiment)))
        for experiment in range(values.shape[1])
    ]


def verdicts(values: Values, arm: int, *, aa: bool = True, higher_is_better: bool = True) -> list[str]:
    noise: Sequence[Ratio | None] = ratios(values, AGAIN) if aa else [None] * values.shape[1]
    found = zip(ratios(values, arm), noise, strict=True)
    return [verdict(of, floor, higher_is_better) for of, floor in found]


def share(said: Sequence[str], what: str) -> float:
    return said.count(what) / len(said)


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("rounds", [8, 9, 10, 11, 12, 13, 20])
def test_the_interval_holds_the_truth_as_often_as_it_says(kind: str, rounds: int) -> None:
    values = simulate(kind, rounds, 4_000)
    for arm in (ARM, AGAIN):
        low, high = median_interval(np.log(values[arm] / values[BASELINE]))
        assert 0.93 <= np.mean((low <= 0) & (high >= 0)) <= 0.97


@pytest.mark.parametrize("kind", NOISES)
@pytest.mark.parametrize("rounds", [5, 6, 7])
def test_with_few_rounds_it_holds_the_truth_no_less_often(kind: str, rounds: int) -> None:
    values = simulate(kind, rounds, 10_000)
    low, high = median_interval(np.log(values[ARM] / values[BASELINE]))
    assert np.mean((low <= 0) & (high >= 0)) >= 0.93


@pytest.mark.parametrize("rounds", [5, 6, 8, 10, 20])
def test_a_steady_trend_makes_it_wider_than_needed_at_worst(rounds: int) -> None:
    """The order of the arms in the rounds makes an arm's place now better, now worse: scatter without an effect."""
    values = simulate("trend", rounds, 4_000)
    low, high = median_interval(np.log(values[ARM] / values[BASELINE]))
    assert 0.93 <= np.mean((low <= 0) & (high >= 0)) <= 0.99


@pytest.mark.parametrize("truth", [0.5, 1.0, 1.05])
def test_a_thousand_experiments_as_a_record_has_them(truth: float) -> None:
    found = ratios(simulate("normal", 10, 1000, truth=truth), ARM)
    held = sum(of.low is not None and of.high is not None and of.low <= truth <= of.high for of in found)
    assert 0.93 <= held / len(found) <= 0.97
    assert np.median([of.estimate for of in found]) == pytest.approx(truth, rel=0.002)


def test_a_bootstrap_of_the_median_would_not() -> None:
    """The reason for another interval: it can only end at one of the values, and with 7 the next one is far."""
    values = simulate("normal", 7, 1000)
    logs = np.log(values[ARM] / values[BASELINE])
    found = stats.bootstrap(
        (logs,), np.median, axis=-1, method="percentile", vectorized=True, n_resamples=999, batch=100, random_state=1
    ).confidence_interval
    assert np.mean((found.low <= 0) & (found.high >= 0)) < 0.90


@pytest.mark.parametrize("kind", [*NOISES, "trend"])
@pytest.mark.parametrize("rounds", [5, 10])
def test_equals_are_rarely_called_different(kind: str, rounds: int) -> None:
    said = verdicts(simulate(kind, rounds, 1000), ARM)
    assert share(said, FASTER) <= 0.03
    assert share(said, SLOWER) <= 0.03


@pytest.mark.parametrize("rounds", [6, 10])
def test_nor_are_they_without_a_noise_floor(rounds: int) -> None:
    said = verdicts(simulate("normal", rounds, 4000), ARM, aa=False)
    assert share(said, FASTER) <= 0.03
    assert share(said, SLOWER) <= 0.03


def test_one_of_five_equal_arms_is_rarely_called_different() -> None:
    """In two metrics: ten chances to be wrong. All are compared with one first arm and one floor, which binds them."""
    wrong = {FASTER: np.zeros(1000, dtype=bool), SLOWER: np.zeros(1000, dtype=bool)}
    for metric in range(2):
        values = simulate("normal", 10, 1000, seed=10 + metric, arms=7)
        for arm in (1, 3, 4, 5, 6):
            said = np.array(verdicts(values, arm))
            for what, any_of_ten in wrong.items():
                any_of_ten |= said == what
    assert np.mean(wrong[FASTER]) <= 0.03
    assert np.mean(wrong[SLOWER]) <= 0.03


@pytest.mark.parametrize(
    ("truth", "sd", "rounds", "found"), [(1.05, 0.02, 10, 0.85), (1.05, 0.01, 5, 0.95), (1.02, 0.01, 10, 0.70)]
)
def test_a_true_effect_is_found(truth: float, sd: float, rounds: int, found: float) -> None:
    for speed, right, wrong in ((truth, FASTER, SLOWER), (1 / truth, SLOWER, FASTER)):
        said = verdicts(simulate("normal", rounds, 1000, sd=sd, truth=speed), ARM)
        assert share(said, right) >= found
        assert share(said, wrong) == 0


def test_less_time_is_faster() -> None:
    rates = simulate("normal", 10, 300, truth=1.05)
    in_rates, in_times = verdicts(rates, ARM), verdicts(1 / rates, ARM, higher_is_better=False)
    assert in_times == in_rates
    assert share(in_times, FASTER) >= 0.85
