"""Medians, ratios, intervals and verdicts, on numbers that can be followed by hand."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from llamasmith.errors import MissingDependency
from llamasmith.lab.extra import check_dependencies
from llamasmith.lab.stats import (
    CONFIDENCE,
    FASTER,
    NO_DIFFERENCE,
    SLOWER,
    TOO_FEW_ROUNDS,
    Ratio,
    enough_rounds,
    median_interval,
    ratio,
    round_ratios,
    scatter,
    share_held,
    verdict,
)

stats = pytest.importorskip("scipy.stats")


def ends(found: Ratio) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


def test_rounds_are_paired_and_a_crashed_arm_has_fewer() -> None:
    assert round_ratios({3: 2.0, 4: 3.0}, {2: 9.0, 3: 1.0, 4: 2.0}) == [2.0, 1.5]
    assert round_ratios({1: 2.0}, {2: 1.0}) == []


def test_one_round_has_no_interval() -> None:
    found = ratio([1.2])
    assert (found.low, found.high, found.rounds) == (None, None, 1)
    assert found.estimate == pytest.approx(1.2)
    assert found.noise() is None
    with pytest.raises(ValueError, match="no rounds"):
        ratio([])


@pytest.mark.parametrize("rounds", [[0.9, 1.1], [0.9, 1.3, 1.1], [0.9, 1.2, 1.1, 1.3, 1.0]])
def test_up_to_five_rounds_the_interval_is_their_range(rounds: list[float]) -> None:
    assert ends(ratio(rounds)) == pytest.approx((min(rounds), max(rounds)))


def test_the_interval_of_six_and_of_ten_rounds_by_hand() -> None:
    # Six: the range holds the median in 1 - 2/64, the range without its ends in 1 - 14/64. From the first to the second
    # 95 % is a tenth of the way in coverage: 5 * 0.1 / (1 + 4 * 0.1) of the way in value.
    low, high = median_interval(np.array([3.0, 1.0, 2.0, 5.0, 4.0, 6.0]))
    assert (low, high) == pytest.approx((1 + 5 / 14, 6 - 5 / 14))
    # Ten: between the second value (1 - 22/1024) and the third (1 - 112/1024), 72.7 % of the way.
    share = (1 - 22 / 1024 - 0.95) / (90 / 1024)
    low, high = median_interval(np.arange(1.0, 11.0))
    assert (low, high) == pytest.approx((2 + 8 * share / (2 + 6 * share), 9 - 8 * share / (2 + 6 * share)))


@pytest.mark.parametrize("rounds", [6, 7, 8, 9, 10, 11, 12, 20, 21, 50])
def test_the_interval_lies_within_the_exact_one_and_beyond_the_next(rounds: int) -> None:
    values = np.random.default_rng(rounds).normal(size=rounds)
    exact = stats.quantile_test(values, q=0.0, p=0.5).confidence_interval(CONFIDENCE)
    ordered = sorted(values)
    low, high = median_interval(values)
    assert exact.low <= low <= ordered[ordered.index(exact.low) + 1]
    assert exact.high >= high >= ordered[ordered.index(exact.high) - 1]


def test_many_experiments_at_once_are_the_same_as_one_by_one() -> None:
    logs = np.random.default_rng(1).normal(size=(20, 9))
    low, high = median_interval(logs)
    for row, bottom, top in zip(logs, low, high, strict=True):
        assert ends(ratio(list(np.exp(row)))) == pytest.approx((math.exp(bottom), math.exp(top)))


def test_the_order_of_rounds_does_not_matter() -> None:
    rounds = [0.97, 1.01, 1.02, 1.03, 1.05, 1.06, 1.08]
    found = ratio(rounds)
    assert found == ratio(rounds[::-1])
    assert found.estimate == pytest.approx(1.03)
    low, high = ends(found)
    assert 0.97 < low < 1.03 < high < 1.08


def test_inverse_values_give_an_inverse_ratio() -> None:
    rounds = [1.07, 0.99, 1.21, 1.13, 1.02, 1.18]
    rate, time = ratio(rounds), ratio([1 / value for value in rounds])
    low, high = ends(rate)
    assert (time.estimate, *ends(time)) == pytest.approx((1 / rate.estimate, 1 / high, 1 / low))


def test_one_disturbed_round_does_not_decide() -> None:
    assert ratio([1.0, 1.01, 0.99, 1.0, 0.2]).estimate == 1.0
    steady = [0.99, 1.0, 1.01] * 3
    assert ends(ratio([*steady, 0.2])) == pytest.approx(ends(ratio([*steady, 0.98])), rel=0.01)


@pytest.mark.parametrize("rounds", [2, 3, 6, 7, 10])
def test_equal_rounds_are_no_error(rounds: int) -> None:
    assert ratio([1.0] * rounds) == Ratio(1.0, 1.0, 1.0, rounds)
    found = ratio([1.3] * rounds)
    assert found.low == found.estimate == found.high


def test_noise_reaches_as_far_as_the_farther_end() -> None:
    assert Ratio(1.0, 0.98, 1.05, 5).noise() == pytest.approx(math.log(1.05))
    assert Ratio(1.0, 0.5, 1.9, 5).noise() == pytest.approx(math.log(2))


QUIET = Ratio(1.0, 0.98, 1.02, 5)


@pytest.mark.parametrize(
    ("of", "noise", "says"),
    [
        (Ratio(1.10, 1.05, 1.15, 5), QUIET, FASTER),
        (Ratio(0.80, 0.75, 0.85, 5), QUIET, SLOWER),
        # the interval holds 1, or ends there
        (Ratio(1.10, 0.99, 1.20, 5), QUIET, NO_DIFFERENCE),
        (Ratio(1.10, 1.00, 1.20, 5), QUIET, NO_DIFFERENCE),
        # A/A reaches as far, on the same side or on the other
        (Ratio(1.02, 1.01, 1.03, 5), Ratio(1.0, 0.98, 1.03, 5), NO_DIFFERENCE),
        (Ratio(1.02, 1.01, 1.03, 5), Ratio(1.0, 0.95, 1.01, 5), NO_DIFFERENCE),
        (Ratio(0.96, 0.95, 0.97, 5), Ratio(1.0, 0.99, 1.06, 5), NO_DIFFERENCE),
        (Ratio(1.02, 1.01, 1.03, 5), Ratio(1.0, 0.99, 1.01, 5), FASTER),
        # without A/A the interval alone decides, and needs a round more
        (Ratio(1.10, 1.05, 1.15, 6), None, FASTER),
        (Ratio(1.10, 1.05, 1.15, 5), None, TOO_FEW_ROUNDS),
        (Ratio(1.10), Ratio(1.0), TOO_FEW_ROUNDS),
        (Ratio(0.50, 0.49, 0.51, 4), QUIET, TOO_FEW_ROUNDS),
        (Ratio(1.10, 1.05, 1.15, 5), Ratio(1.0, 0.98, 1.02, 4), TOO_FEW_ROUNDS),
    ],
)
def test_a_verdict_needs_the_interval_and_the_noise_floor(of: Ratio, noise: Ratio | None, says: str) -> None:
    assert verdict(of, noise) == says
    # of a time, less is better
    opposite = {FASTER: SLOWER, SLOWER: FASTER}
    assert verdict(of, noise, higher_is_better=False) == opposite.get(says, says)


def test_a_rate_and_its_time_get_one_verdict() -> None:
    for speed, says in ((1.1, FASTER), (0.9, SLOWER), (1.0, NO_DIFFERENCE)):
        rounds = [speed * other for other in (0.98, 0.99, 1.0, 1.0, 1.01, 1.02)]
        assert verdict(ratio(rounds), QUIET) == says
        assert verdict(ratio([1 / value for value in rounds]), QUIET, higher_is_better=False) == says


def test_how_many_rounds_are_enough() -> None:
    assert (enough_rounds(True), enough_rounds(False)) == (5, 6)
    assert share_held(2) == 0.5
    assert share_held(enough_rounds(True)) == 0.9375
    # Equals are called faster, and slower as often, in no more than 3 %.
    assert (1 - share_held(enough_rounds(False))) / 2 < 0.03


def test_scatter_is_relative() -> None:
    assert scatter([5.0]) == 0.0
    assert scatter([9.0, 11.0]) == pytest.approx(math.sqrt(2.0) / 10.0)


def test_a_missing_package_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingDependency, match=r'pip install "llamasmith\[bench\]"'):
        check_dependencies()
