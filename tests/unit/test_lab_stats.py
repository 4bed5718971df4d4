"""Medians, ratios, intervals and verdicts, on made-up numbers with a known truth."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from llamasmith.errors import MissingDependency
from llamasmith.lab.extra import check_dependencies
from llamasmith.lab.stats import (
    FASTER,
    NO_DIFFERENCE,
    SLOWER,
    TOO_FEW_ROUNDS,
    Ratio,
    ratio,
    round_ratios,
    scatter,
    verdict,
)

pytest.importorskip("scipy")


def test_rounds_are_paired_and_a_crashed_arm_has_fewer() -> None:
    assert round_ratios([2.0, 3.0], [1.0, 2.0, 9.0]) == [2.0, 1.5]


def test_one_round_has_no_interval() -> None:
    assert ratio([1.2], seed=0) == Ratio(1.2)
    with pytest.raises(ValueError, match="no rounds"):
        ratio([], seed=0)


def test_the_interval_holds_the_estimate_and_repeats_with_its_seed() -> None:
    rounds = [0.97, 1.01, 1.02, 1.03, 1.05, 1.06, 1.08]
    found = ratio(rounds, seed=7)
    assert found == ratio(rounds, seed=7)
    assert found.low is not None
    assert found.high is not None
    assert min(rounds) <= found.low < found.estimate == 1.03 < found.high <= max(rounds)


def test_one_disturbed_round_does_not_decide() -> None:
    assert ratio([1.0, 1.01, 0.99, 1.0, 0.2], seed=0).estimate == 1.0


def test_equal_rounds_are_no_error() -> None:
    assert ratio([1.0, 1.0, 1.0], seed=0) == Ratio(1.0, 1.0, 1.0, 3)


@pytest.mark.parametrize(
    ("of", "noise", "says"),
    [
        (Ratio(1.10, 1.05, 1.15, 5), Ratio(1.0, 0.98, 1.02, 5), FASTER),
        (Ratio(0.80, 0.75, 0.85, 5), Ratio(1.0, 0.98, 1.02, 5), SLOWER),
        (Ratio(1.10, 0.99, 1.20, 5), Ratio(1.0, 0.98, 1.02, 5), NO_DIFFERENCE),
        (Ratio(1.02, 1.01, 1.03, 5), Ratio(1.0, 0.95, 1.02, 5), NO_DIFFERENCE),
        (Ratio(0.96, 0.95, 0.97, 5), Ratio(1.0, 0.99, 1.06, 5), NO_DIFFERENCE),
        (Ratio(1.10, 1.05, 1.15, 5), None, FASTER),
        (Ratio(1.10), Ratio(1.0), TOO_FEW_ROUNDS),
        (Ratio(0.50, 0.49, 0.51, 4), None, TOO_FEW_ROUNDS),
        (Ratio(1.10, 1.05, 1.15, 5), Ratio(1.0, 0.98, 1.02, 4), TOO_FEW_ROUNDS),
    ],
)
def test_a_verdict_needs_the_interval_and_the_noise_floor(of: Ratio, noise: Ratio | None, says: str) -> None:
    assert verdict(of, noise) == says


def test_scatter_is_relative() -> None:
    assert scatter([5.0]) == 0.0
    assert scatter([9.0, 11.0]) == pytest.approx(math.sqrt(2.0) / 10.0)


@pytest.mark.parametrize("truth", [0.8, 1.0, 1.1])
def test_intervals_hold_a_known_truth_and_verdicts_are_rarely_wrong(truth: float) -> None:
    """200 experiments of 10 rounds: drift that both arms share, 3 % noise of their own, now and then a spike."""
    random = np.random.default_rng(20)
    held = wrong = 0
    for seed in range(200):
        drift = np.exp(random.normal(0, 0.2, 10))
        spikes = np.where(random.random((3, 10)) < 0.05, 0.5, 1.0)
        baseline, again, other = drift * np.exp(random.normal(0, 0.03, (3, 10))) * spikes
        found = ratio(round_ratios(list(truth * other), list(baseline)), seed)
        noise = ratio(round_ratios(list(again), list(baseline)), seed)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
        allowed = {NO_DIFFERENCE} | ({FASTER} if truth > 1 else set()) | ({SLOWER} if truth < 1 else set())
        wrong += verdict(found, noise) not in allowed
    assert 0.90 <= held / 200 <= 0.99
    assert wrong / 200 <= 0.05


def test_a_missing_package_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingDependency, match=r'pip install "llamasmith\[bench\]"'):
        check_dependencies()
