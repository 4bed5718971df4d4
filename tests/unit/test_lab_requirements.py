"""What figures must reach, held against a made-up record."""

from __future__ import annotations

from typing import Any

import pytest
from lab_world import Weather, experiment

from llamasmith.lab.condition import IDLE, Condition
from llamasmith.lab.plan import Metric
from llamasmith.lab.process import WorkerDied
from llamasmith.lab.record import build_record
from llamasmith.lab.requirements import Outcome, Requirement, outcomes

pytest.importorskip("scipy")

BUSY, QUOTA, SESSIONS = Condition(neighbours=2), Condition(quota=1.0), Condition(sessions=2)
RATES = {
    "idle": {"a": 100.0, "b": 110.0, "c": 90.0},
    "neighbours=2": {"a": 40.0, "b": 30.0, "c": 50.0},
}
NOISE = (1.0, 1.01, 0.99, 1.004, 0.997)


def record(**change: Any) -> dict[str, Any]:
    world = {"noise": NOISE, "cannot": {"quota=1": "No cgroup."}, **change.pop("world", {})}
    plan = experiment("abc", **{"conditions": (IDLE, BUSY, QUOTA, SESSIONS), "rounds": 6, "idle_seconds": 5.0} | change)
    return build_record(Weather(dict(RATES["idle"]), under=RATES, **world).run(plan))


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return record()


def outcome(of: dict[str, Any], metric: str = "tg10", **fields: Any) -> Outcome:
    (found,) = outcomes(of, [Requirement(**{"under": "idle", "arm": "a", "bound": 1.0, **fields})], metric)
    return found


@pytest.mark.parametrize(
    ("fields", "estimate", "reference", "met"),
    [
        ({"over": ("b", "c"), "bound": 0.9}, 100 / 110, "b", True),
        ({"over": ("b", "c"), "bound": 0.92}, 100 / 110, "b", False),
        ({"under": "neighbours=2", "over": ("b", "c"), "bound": 0.75}, 40 / 50, "c", True),
        ({"over": ("b",), "bound": 0.9, "low": 0.95}, 100 / 110, "b", False),
        ({"over": ("b",), "bound": 0.9, "low": 0.85}, 100 / 110, "b", True),
        # Two CPUs for as long as a token takes.
        ({"over": ("b", "c"), "what": "cpu"}, 110 / 100, "b", False),
        ({"over": ("c",), "what": "cpu"}, 90 / 100, "c", True),
        (
            {"under": "neighbours=2", "over": ("c",), "means": ("idle", "neighbours=2"), "bound": 0.5},
            40 / 70,
            "c",
            True,
        ),
        ({"under": "neighbours=2", "over": ("a",), "means": ("idle",), "bound": 0.5}, 40 / 100, "a", False),
    ],
)
@pytest.mark.parametrize("metric", ["tg10", "pp50"])
def test_a_ratio_to_the_best_of_some_arms(
    plain: dict[str, Any], metric: str, fields: dict[str, Any], estimate: float, reference: str, met: bool
) -> None:
    found = outcome(plain, metric, **fields)
    assert found.found is not None
    assert found.found.estimate == pytest.approx(estimate, rel=0.02)
    assert found.found.low is not None
    assert found.found.high is not None
    assert found.found.low <= found.found.estimate <= found.found.high
    assert (found.reference, found.met, found.missing) == (reference, met, "")


def test_a_time_is_the_better_the_shorter_it_is() -> None:
    times = record(metrics=(Metric("ttft", 16),), conditions=(IDLE,))
    found = outcome(times, "ttft16", over=("b", "c"), bound=0.9)
    assert (found.reference, found.met) == ("b", True)
    assert found.found is not None
    assert found.found.estimate == pytest.approx(100 / 110, rel=0.02)


def test_idleness_is_a_share_of_a_cpu() -> None:
    lazy, busy = (record(conditions=(IDLE,), world={"idle_cpus": cpus}) for cpus in (0.0, 0.5))
    found = outcome(lazy, what="idle", bound=0.05)
    assert found.found is not None
    assert (found.found.estimate, found.met) == (pytest.approx(0.1 / 5), True)  # it polls for 0.1 s
    assert not outcome(busy, what="idle", bound=0.05).met
    assert not outcome(record(conditions=(IDLE,), idle_seconds=0.0), what="idle", bound=0.05).met


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"under": "neighbours=3", "over": ("b",)}, "neighbours=3 is not part of this record"),
        ({"under": "quota=1", "over": ("b",)}, "quota=1: No cgroup."),
        ({"under": "sessions=2", "over": ("b",)}, "sessions=2: The sessions did not work at the same time."),
        ({"arm": "d", "over": ("b",)}, "d has no value under idle"),
        ({"over": ("d", "e")}, "d and e have no value under idle"),
        ({"over": ("a",), "means": ("idle", "quota=1")}, "quota=1: No cgroup."),
        ({"what": "idle", "under": "neighbours=2"}, "a was not watched while idle"),
        ({"what": "idle", "arm": "d"}, "d was not watched while idle"),
    ],
)
def test_what_was_not_measured_says_why(plain: dict[str, Any], fields: dict[str, Any], says: str) -> None:
    found = outcome(plain, **fields)
    assert (found.found, found.missing, found.met) == (None, says, False)


def test_an_arm_that_has_ended_says_how() -> None:
    died = record(conditions=(IDLE,), world={"disasters": {("a", 0): WorkerDied("It died.\nIts last words: oh")}})
    assert outcome(died, over=("b",)).missing == "a has no value under idle: It died."


def test_an_arm_that_has_no_value_is_not_the_best_one() -> None:
    died = record(conditions=(IDLE,), world={"disasters": {("b", 0): WorkerDied("It died.")}})
    assert outcome(died, over=("b", "c")).reference == "c"


def test_one_round_has_no_interval() -> None:
    once = record(conditions=(IDLE, BUSY), rounds=1)
    for fields in ({"over": ("b",)}, {"over": ("b",), "means": ("neighbours=2",)}):
        found = outcome(once, **fields, low=0.5, bound=0.5)
        assert found.found is not None
        assert (found.found.low, found.met) == (None, True)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"over": ("b",), "bound": 1.7}, ">= 1.70 x b"),
        ({"over": ("b", "c"), "low": 0.98}, ">= 1.00 x the best of b, c, low end >= 0.98"),
        ({"over": ("b", "c"), "called": "the best one"}, ">= 1.00 x the best one"),
        ({"over": ("b",), "what": "cpu"}, "CPU a token <= 1.00 x b"),
        ({"over": ("a",), "means": ("idle",)}, ">= 1.00 x a under idle"),
        ({"over": ("a",), "means": ("idle", "neighbours=2")}, ">= 1.00 x the mean of a under idle and neighbours=2"),
        ({"what": "idle", "bound": 0.005}, "after work < 0.5% of a CPU"),
    ],
)
def test_requirements_in_words(fields: dict[str, Any], words: str) -> None:
    assert Requirement(**{"under": "idle", "arm": "a", "bound": 1.0, **fields}).words == words
