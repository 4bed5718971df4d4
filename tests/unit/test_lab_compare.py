"""Records side by side: refused where more than the arms differs."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from lab_world import FACTS, World, experiment

from llamasmith.errors import LabError
from llamasmith.lab.arm import Arm
from llamasmith.lab.compare import Difference, check_comparable, check_same_facts, differences
from llamasmith.lab.condition import Condition
from llamasmith.lab.contrast import contrast
from llamasmith.lab.record import build_record

pytest.importorskip("scipy")

NOISE = (1.0, 1.01, 0.99, 1.004, 0.997)


def record(rates: dict[str, float], facts: dict[str, Any] = FACTS, **change: Any) -> dict[str, Any]:
    arms = tuple(Arm(name, "patched", {"n_batch": 64 + ord(name)}) for name in rates)
    found = World(rates, noise=NOISE).run(experiment(**{"arms": arms, "rounds": 8, **change}), facts=facts)
    again: dict[str, Any] = json.loads(json.dumps(build_record(found)))
    return again


def changed(path: str, value: object) -> dict[str, Any]:
    facts = copy.deepcopy(FACTS)
    table, _, name = path.rpartition(".")
    (facts[table] if table else facts)[name] = value
    return facts


def test_differences_of_nested_tables() -> None:
    one = {"a": {"b": 1, "c": (1, 2)}, "d": "x", "e": None}
    other = {"a": {"b": 2, "c": [1, 2]}, "f": "y"}
    assert differences(one, other) == [
        Difference("a.b", 1, 2),
        Difference("d", "x", None),
        Difference("f", None, "y"),
    ]
    assert str(Difference("machine.kernel", "Linux 6", None)) == "machine.kernel: Linux 6 here, nothing there"
    assert len(str(Difference("x", "y" * 500, "z"))) < 120


def test_records_of_one_machine_and_plan_compare() -> None:
    check_comparable([record({"a": 100.0, "b": 120.0}), record({"a": 100.0, "c": 120.0}, rounds=9)])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("machine.cpu_model", "Another CPU"),
        ("machine.kernel", "Linux 7"),
        ("model.sha256", "1" * 64),
        ("build.series_digest", "6" * 64),
        ("build.pin", "q" * 40),
        ("packages.llamasmith", "2"),
        ("thread_budget.budget", 4),
    ],
)
def test_whatever_decides_speed_keeps_records_apart(path: str, value: object) -> None:
    with pytest.raises(LabError) as caught:
        check_comparable([record({"a": 100.0}), record({"a": 100.0}, changed(path, value))])
    assert f"  {path}: " in str(caught.value)
    assert "python=INTERPRETER" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [("machine.load_average", [9.0]), ("machine.busy_cpus", 2.0), ("packages.numpy", "3"), ("roofline", None)],
)
def test_what_changes_by_itself_does_not(path: str, value: object) -> None:
    check_comparable([record({"a": 100.0}), record({"a": 100.0}, changed(path, value))])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 1}, "plan.seed: 0 here, 1 there"),
        ({"warmup": 2}, "plan.warmup"),
        ({"conditions": (Condition(neighbours=1),)}, "plan.conditions"),
        ({"defaults": {"n_threads": 1}}, "plan.defaults.n_threads"),
        ({"arms": (Arm("z", "upstream"),)}, "first arm.engine: patched here, upstream there"),
    ],
)
def test_another_plan_or_first_arm_is_refused(change: dict[str, Any], says: str) -> None:
    rates = {"z": 100.0} if "arms" in change else {"a": 100.0}
    with pytest.raises(LabError) as caught:
        check_comparable([record({"a": 100.0}), record(rates, **change)])
    assert says in str(caught.value)


def test_a_run_is_gone_on_with_only_where_it_began() -> None:
    check_same_facts(FACTS, changed("machine.load_average", [9.0]))
    check_same_facts({**FACTS, "builds": {"b": {}}}, FACTS)
    with pytest.raises(LabError, match=r"cannot be gone on with(.|\n)*machine.kernel: nothing here, Linux 7 there"):
        check_same_facts(FACTS, changed("machine.kernel", "Linux 7"))


def test_the_same_arm_in_two_records_shows_its_change() -> None:
    tables = contrast([record({"a": 100.0, "b": 120.0}), record({"a": 90.0, "b": 162.0, "c": 90.0})])
    assert [(table.condition, table.metric.name) for table in tables] == [("idle", "pp50"), ("idle", "tg10")]
    rows = tables[1].rows
    assert [(row.record, row.arm) for row in rows] == [(1, "a"), (1, "b"), (2, "a"), (2, "b"), (2, "c")]
    by_arm = {(row.record, row.arm): row for row in rows}
    assert by_arm[1, "a"].ratio is None
    first, second = by_arm[1, "b"].ratio, by_arm[2, "b"].ratio
    assert first is not None
    assert second is not None
    assert (first.estimate, second.estimate) == (pytest.approx(1.2, rel=0.02), pytest.approx(1.8, rel=0.02))
    assert [row.arm for row in rows if row.change is not None] == ["b"]
    change = by_arm[2, "b"].change
    assert change is not None
    assert change.estimate == pytest.approx(1.5, rel=0.02)
    assert change.low is not None
    assert change.high is not None
    assert 1.4 < change.low <= change.estimate <= change.high < 1.6


def test_one_record_has_nothing_to_compare_with() -> None:
    with pytest.raises(LabError, match="two or more"):
        contrast([record({"a": 100.0})])
