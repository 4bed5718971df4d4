"""The plan of an experiment: orders, repeats, metrics, and what is refused before anything runs. All pure."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lab_world import experiment

from llamasmith.errors import InvalidOption
from llamasmith.lab.arm import AA_NAME, Arm
from llamasmith.lab.condition import IDLE, Condition, parse_condition
from llamasmith.lab.plan import (
    Experiment,
    Metric,
    Quality,
    common_settings,
    order,
    parse_metric,
    parts_for,
    repeats_for,
    sample_plan,
    split,
)


def test_two_arms_run_abba() -> None:
    assert [order(2, index) for index in range(4)] == [(0, 1), (1, 0), (0, 1), (1, 0)]


@pytest.mark.parametrize("n_arms", [1, 2, 3, 4, 5, 6, 7])
def test_every_place_and_every_predecessor_equally_often(n_arms: int) -> None:
    rounds = [order(n_arms, index) for index in range(2 * n_arms)]
    assert all(sorted(row) == list(range(n_arms)) for row in rounds)
    for position in range(n_arms):
        assert set(Counter(row[position] for row in rounds).values()) == {2}
    follows = Counter(pair for row in rounds for pair in pairwise(row))
    assert len(follows) == n_arms * (n_arms - 1)
    assert len(set(follows.values())) <= 1


def test_repeats_are_those_of_the_arm_that_needs_most() -> None:
    assert repeats_for([0.1, 0.05], 0.2) == 5
    assert repeats_for([3.0], 0.2) == 1
    assert repeats_for([], 0.2) == 1


@pytest.mark.parametrize(
    ("repeats", "once", "parts"),
    [(1, 2.0, 1), (2, 0.45, 2), (3, 0.45, 2), (5, 0.25, 4), (8, 0.1, 4), (4, 0.1, 2), (3, 0.1, 1), (9, 0.0, 1)],
)
def test_a_sample_is_taken_in_as_many_parts_as_are_long_enough(repeats: int, once: float, parts: int) -> None:
    assert parts_for(repeats, [once, 10 * once]) == parts


def test_repeats_are_spread_over_the_parts() -> None:
    assert split(7, 4) == [2, 2, 2, 1]
    assert split(3, 1) == [3]
    assert sum(split(11, 4)) == 11


def test_a_metric_knows_its_unit_and_its_direction() -> None:
    assert [parse_metric(name) for name in ("pp128", "tg64", "ttft16")] == [
        Metric("pp", 128),
        Metric("tg", 64),
        Metric("ttft", 16),
    ]
    assert [(m.name, m.unit, m.higher_is_better) for m in (Metric("pp", 8), Metric("ttft", 8))] == [
        ("pp8", "tokens/s", True),
        ("ttft8", "ms", False),
    ]


@pytest.mark.parametrize(("word", "says"), [("x8", "Allowed: pp, tg, ttft"), ("pp0", "at least 1"), ("pp", "pp128")])
def test_a_metric_that_is_none_is_refused(word: str, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        parse_metric(word)


def test_the_context_has_room_for_everything() -> None:
    def n_ctx(*metrics: Metric) -> Any:
        return common_settings(metrics, n_threads=2)["n_ctx"]

    assert n_ctx(Metric("pp", 128), Metric("tg", 64)) == 256
    assert n_ctx(Metric("pp", 256)) == 512  # and one more token
    assert n_ctx(Metric("pp", 16), Metric("tg", 512)) == 768
    assert n_ctx(Metric("pp", 1)) == 256  # the outputs that are compared need room as well


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rounds": 0}, "rounds is 0"),
        ({"warmup": -1}, "warmup is -1"),
        ({"metrics": ()}, "Nothing to measure"),
        ({"metrics": (Metric("pp", 8), Metric("pp", 8))}, "Two metrics are the same"),
        ({"conditions": (IDLE, IDLE)}, "Two conditions are the same"),
        ({"arms": ()}, "at least one arm"),
        ({"arms": (Arm("a", "patched"), Arm("b", "patched"))}, "the same configuration"),
        ({"arms": (Arm("a", "patched"), Arm("b", "patched", {"n_threads": 2}))}, "the same configuration"),
        ({"n_outputs": 0}, "n_outputs is 0"),
        ({"sample_seconds": 0.1}, "at least 0.2 s"),
        ({"sample_seconds": float("nan")}, "at least 0.2 s"),
        ({"limit_seconds": 0.1}, "ends after 0.1 s is ruled by the scheduler"),
        ({"only": {"quota=1": ("a",)}}, "'quota=1', which is not measured"),
        ({"only": {"idle": ("a", "c")}}, "Known: a, b"),
        ({"only": {"idle": ()}}, "take part are none"),
    ],
)
def test_an_experiment_that_measures_nothing_is_refused(change: dict[str, Any], says: str) -> None:
    experiment()
    with pytest.raises(InvalidOption, match=says):
        experiment(**change)


def test_arms_take_what_they_leave_open_from_the_defaults() -> None:
    plan = experiment(
        arms=(Arm("a", "patched"), Arm("b", "patched", {"n_threads": 3}), Arm("p", "", peer="transformers")), aa=True
    )
    arms = plan.arms_under(Condition(oversubscribe=2))
    assert [arm.name for arm in arms] == ["a", "b", "p", AA_NAME]
    assert [arm.settings["n_threads"] for arm in arms] == [4, 3, 4, 4]
    assert arms[0].settings["n_ctx"] == 256
    assert "n_ctx" not in arms[2].settings
    assert [arm.name for arm in plan.arms_under(IDLE, aa=False)] == ["a", "b", "p"]


def test_some_arms_take_part_under_some_conditions_only() -> None:
    busy = Condition(neighbours=2)
    plan = experiment("abc", conditions=(IDLE, busy), only={"neighbours=2": ("c", "b")}, aa=True)
    assert [arm.name for arm in plan.arms_under(IDLE)] == ["a", "b", "c", AA_NAME]
    found = plan.arms_under(busy)
    assert [arm.name for arm in found] == ["b", "c", AA_NAME]
    assert found[-1].settings == found[0].settings


def test_a_sample_lasts_until_its_condition_repeats_itself() -> None:
    assert sample_plan([0.1], 0.8) == (10, 4)
    repeats, parts = sample_plan([0.5, 3.0], 0.8, period=4.0)
    assert parts == 1
    assert repeats * 0.5 >= 4 * 4.0  # one repeat may take several times as long a moment later
    assert (Condition(neighbours=1, every=2.0).period, IDLE.period) == (4.0, 0.0)


def test_a_plan_finds_its_way_back() -> None:
    plan = experiment(
        only={"neighbours=2, quota=1.5": ["b"]},
        limit_seconds=3.0,
        conditions=(IDLE, Condition(neighbours=2, quota=1.5)),
        quality=Quality(Path("text.txt"), 512, 128),
        model_name="small",
        name="mine",
        question="Why?",
    )
    again = Experiment.from_plan(plan.plan(), lambda name: {"small": Path("m.gguf")}[name], plan.command)
    assert again == plan


@pytest.mark.parametrize(
    ("text", "condition", "name"),
    [
        ("idle", IDLE, "idle"),
        ("neighbours=2", Condition(neighbours=2), "neighbours=2"),
        (" quota=1.5 , sessions=2", Condition(quota=1.5, sessions=2), "quota=1.5, sessions=2"),
        ("oversubscribe=4,neighbours=1", Condition(neighbours=1, oversubscribe=4), "neighbours=1, oversubscribe=4"),
        ("neighbours=1,nice=-10", Condition(neighbours=1, nice=-10), "neighbours=1, nice=-10"),
        ("neighbours=2,every=0.5", Condition(neighbours=2, every=0.5), "neighbours=2, every=0.5"),
    ],
)
def test_conditions_from_words(text: str, condition: Condition, name: str) -> None:
    assert parse_condition(text) == condition
    assert condition.name == name
    assert Condition.from_dict(condition.asdict()) == condition


def test_a_condition_of_an_older_record_is_read() -> None:
    old = {"name": "neighbours=2", "neighbours": 2, "oversubscribe": 1, "quota": None, "sessions": 1}
    assert Condition.from_dict(old) == Condition(neighbours=2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("busy", "Allowed: idle, or neighbours=N"),
        ("neighbours", "Allowed: idle"),
        ("neighbors=2", "Allowed: idle, or neighbours=N"),
        ("neighbours=two", "is not a number"),
        ("neighbours=-1", "at least 0"),
        ("oversubscribe=0", "at least 1"),
        ("sessions=0", "at least 1"),
        ("quota=0", "from 0.01"),
        ("quota=nan", "from 0.01"),
        ("neighbours=1,nice=-21", "from -20 to 19"),
        ("neighbours=1,nice=0.5", "is not a number"),
        ("nice=-10", "give neighbours=N too"),
        ("every=2", "give neighbours=N too"),
        ("neighbours=1,every=0.01", "0.1 to 60 seconds, or never rest"),
        ("neighbours=1,every=-2", "0.1 to 60 seconds"),
        ("neighbours=1,every=nan", "0.1 to 60 seconds"),
        ("neighbours=1,every=inf", "0.1 to 60 seconds"),
    ],
)
def test_a_condition_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        parse_condition(text)
