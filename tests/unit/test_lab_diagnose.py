"""Warnings: each one appears where its cause is, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from lab_world import experiment

from llamasmith.lab.arm import AA_NAME, Arm
from llamasmith.lab.condition import IDLE, Condition
from llamasmith.lab.diagnose import diagnose, diagnose_cell
from llamasmith.lab.plan import Experiment, Metric
from llamasmith.lab.results import ArmResult, CellResult, Results, Sample

pytest.importorskip("scipy")

TG, TTFT = Metric("tg", 10), Metric("ttft", 10)
STEADY = [100.0, 101.0, 99.0, 100.5, 99.5, 100.0, 101.5, 98.5, 100.0]
FACTS: dict[str, Any] = {"machine": {"busy_cpus": 0.1}, "thread_budget": {"budget": 2}}


def plan(**change: Any) -> Experiment:
    return experiment("ab", **{"metrics": (TG,), "rounds": len(STEADY), "aa": True, **change})


def samples(values: list[float], metric: Metric = TG, **change: Any) -> list[Sample]:
    """One a round, each a second long or, of `TTFT`, one repeat of so many milliseconds."""
    fields: dict[str, Any] = {
        "metric": metric.name,
        "position": 0,
        "warmup": False,
        "usage": None,
        "throttled_seconds": None,
    }
    return [
        Sample(
            round=index,
            tokens=round(value * 1000) if metric is TG else 10,
            seconds=(1000.0,) if metric is TG else (value / 1e3,),
            **fields | change,
        )
        for index, value in enumerate(values)
    ]


def cell(
    a: list[Sample] | None = None,
    b: list[Sample] | None = None,
    aa: list[Sample] | None = None,
    *,
    condition: Condition = IDLE,
    threads: int = 2,
) -> CellResult:
    """Three quiet arms with steady values, but for what is given."""
    again = [STEADY[-1], *STEADY[:-1]]
    arms = [
        ArmResult(Arm("a", "patched", {"n_threads": 2}), samples=a or samples(STEADY)),
        ArmResult(Arm("b", "patched", {"n_threads": threads}), samples=b or samples(STEADY)),
        ArmResult(Arm(AA_NAME, "patched", {"n_threads": 2}), samples=aa or samples(again)),
    ]
    return CellResult(condition, arms)


def warnings(of: CellResult, **change: Any) -> list[str]:
    return diagnose_cell(plan(**change), of, FACTS)


def the_warning(of: CellResult, **change: Any) -> str:
    """The only one."""
    (found,) = warnings(of, **change)
    return found


def of_all(*cells: CellResult, facts: dict[str, Any] | None = None, **change: Any) -> list[str]:
    return diagnose(Results(plan(**change), list(cells) or [cell()], "now", facts or FACTS))


def test_a_quiet_experiment_has_no_warnings() -> None:
    assert of_all() == []
    assert warnings(cell()) == []


@pytest.mark.parametrize(
    ("rounds", "aa", "says"),
    [
        (1, True, "Too few rounds (1): one round has no interval, so there is no verdict. Use --rounds 5 or more."),
        (4, True, "Too few rounds (4): their range holds the truth in only 88% of all cases, so"),
        (5, True, None),
        (4, False, "88% of all cases, so there is no verdict. Use --rounds 6 or more."),
        (5, False, "Too few rounds (5): equal arms would be called different too often without the A/A arm, so there"),
        (6, False, None),
    ],
)
def test_too_few_rounds(rounds: int, aa: bool, says: str | None) -> None:
    found = of_all(rounds=rounds, aa=aa)
    if says is None:
        assert found == []
    else:
        assert says in found[0]


def test_a_busy_machine() -> None:
    (found,) = of_all(facts={"machine": {"busy_cpus": 0.35}})
    assert found == "Other programs were using 0.35 CPUs when this began. Stop them, or wait until they are done."
    assert of_all(facts={"machine": {"busy_cpus": 0.2}}) == []
    assert of_all(facts={"machine": {"busy_cpus": None}}) == []
    assert of_all(facts={}) == []


def test_a_cell_that_was_not_run_or_not_in_force() -> None:
    missing = CellResult(Condition(quota=1.0), [], not_run="No cgroup can be written.")
    in_vain = cell(condition=Condition(neighbours=2))
    in_vain.not_in_force = "They slept."
    assert of_all(cell(), missing, in_vain) == [
        "quota=1: not run. No cgroup can be written.",
        "neighbours=2: the condition was not in force, so there is no verdict. They slept.",
    ]


def test_more_threads_than_the_budget() -> None:
    assert the_warning(cell(threads=4)) == (
        "b has 4 threads on a budget of 2: they wait for one another's CPU. Use t=2 or fewer."
    )
    assert warnings(cell(threads=2)) == []
    assert warnings(cell(threads=4, condition=Condition(oversubscribe=2))) == []  # asked for
    assert diagnose_cell(plan(), cell(threads=4), {}) == []  # no budget is known


def test_an_arm_that_ended() -> None:
    found = cell()
    found.arms[1].ended = "The arm 'b' was ended by signal 11.\nIts last words:\n  oh"
    assert the_warning(found) == "b ended early: The arm 'b' was ended by signal 11."


def test_a_quota_that_nobody_asked_for() -> None:
    throttled = samples(STEADY, throttled_seconds=0.1)
    assert the_warning(cell(b=throttled)) == (
        "A cgroup quota stopped the arms for up to 0.90 s (b): use no more threads than the quota allows."
    )
    assert warnings(cell(b=throttled, condition=Condition(quota=1.0))) == []
    assert warnings(cell(b=samples(STEADY, throttled_seconds=0.0))) == []
    assert warnings(cell(b=[*samples(STEADY), *samples([100.0], throttled_seconds=9.0, warmup=True)])) == []


def test_a_slow_first_value() -> None:
    assert the_warning(cell(b=samples([80.0, *STEADY[1:]])), warmup=2) == (
        "First values up to 20% worse than the median (b tg10): caches or clock speed were still settling. "
        "Use --warmup 3."
    )
    assert warnings(cell(b=samples([91.0, *STEADY[1:]]))) == []
    assert warnings(cell(b=samples([120.0, *STEADY[1:]]))) == []  # fast is not slow
    assert warnings(cell(b=samples([80.0, 100.0]))) != []
    assert not any("First values" in warning for warning in warnings(cell(b=samples([80.0, 100.0]))))


def test_a_slow_first_time_is_a_long_one() -> None:
    long = samples([1250.0, *(10 * value for value in STEADY[1:])], TTFT)
    usual = samples([10 * value for value in STEADY], TTFT)
    assert "First values up to 20% worse than the median (b ttft10)" in the_warning(
        cell(usual, long, usual), metrics=(TTFT,)
    )
    assert warnings(cell(usual, usual, usual), metrics=(TTFT,)) == []
    short = samples([800.0, *(10 * value for value in STEADY[1:])], TTFT)
    assert warnings(cell(usual, short, usual), metrics=(TTFT,)) == []


def test_a_slow_first_value_among_others_is_scatter() -> None:
    found = the_warning(cell(b=samples([85.0, 115.0, 84.0, 116.0, 100.0, 114.0, 86.0, 116.0, 85.0])))
    assert found == (
        "Values scatter by up to 15%, standard deviation (b tg10): something else uses the machine, or its clock speed "
        "changes. Use more rounds on a quieter machine."
    )


def test_values_that_scatter_a_little_are_no_cause_for_alarm() -> None:
    assert warnings(cell(b=samples([91.0, 109.0, 92.0, 108.0, 100.0, 107.0, 93.0, 108.0, 92.0]))) == []


FALLING = [100.0, 99.0, 98.0, 96.0, 95.0, 93.0, 92.0, 90.0, 89.0]


def test_a_machine_that_slows_down() -> None:
    found = the_warning(cell(*(samples(FALLING) for _ in range(3))))
    assert found == (
        "The last third of the rounds is up to 9% slower than the first (a tg10, b tg10, A/A tg10): heat, a clock that "
        "falls, or a program that has started. Ratios compare within a round and stand; take no rate by itself from "
        "here."
    )


def test_a_machine_that_speeds_up() -> None:
    found = the_warning(cell(*(samples(FALLING[::-1]) for _ in range(3))), warmup=2)
    assert found == (
        "The last third of the rounds is up to 10% faster than the first (a tg10, b tg10, A/A tg10): the arms were "
        "still settling, or a program has ended. Ratios compare within a round and stand; for the rates, let more "
        "rounds warm up: --warmup is 2."
    )


def test_times_that_grow_are_a_machine_that_slows_down() -> None:
    growing = samples([10 * value for value in FALLING[::-1]], TTFT)
    assert "up to 9% slower" in the_warning(cell(growing, growing, growing), metrics=(TTFT,))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([100.0, 99.5, 99.0, 98.5, 98.0, 97.5, 97.0, 96.5, 96.0], id="small"),
        pytest.param([100.0, 95.0, 103.0, 98.0, 92.0, 99.0, 94.0, 97.0, 91.0], id="chance"),
        pytest.param([100.0, 95.0, 90.0, 85.0, 80.0], id="few"),
        pytest.param([100.0] * 9, id="none"),
    ],
)
def test_what_is_no_drift(values: list[float]) -> None:
    assert warnings(cell(*(samples(values) for _ in range(3)))) == []


def test_a_first_arm_that_differs_from_itself() -> None:
    apart = samples([1.06 * value for value in STEADY])
    assert the_warning(cell(aa=apart)) == (
        "A/A differs from a, which it repeats, by up to 6% (tg10): processes differ that much here, by where their "
        "memory lies. Smaller effects mean nothing, and more rounds do not help: run again, with new processes."
    )
    slower = samples([value / 1.06 for value in STEADY])
    assert "by up to 6% (tg10)" in the_warning(cell(aa=slower))


def test_a_first_arm_that_hardly_differs_from_itself() -> None:
    assert warnings(cell(aa=samples([1.015 * value for value in STEADY]))) == []
    # by more, but no more than chance
    assert warnings(cell(aa=samples([106.0, 98.0, 107.0, 95.0, 106.0, 107.0, 93.0, 106.0, 106.0]))) == []
    # too few rounds to tell
    assert warnings(cell(samples(STEADY[:4]), aa=samples([1.06 * value for value in STEADY[:4]]))) == []


def test_short_samples() -> None:
    short = [replace(one, tokens=10, seconds=(0.1,)) for one in samples(STEADY)[:2]]
    found = the_warning(cell(b=[*short, *samples(STEADY)[2:]]))
    assert found == (
        "2 of 27 samples are shorter than 0.2 s: the machine was slower while their length was decided than "
        "afterwards. Run again on a quieter machine."
    )
    enough = [replace(one, tokens=20, seconds=(0.1, 0.1)) for one in samples(STEADY)]
    assert warnings(cell(b=enough)) == []


def test_an_arm_that_disturbs_another() -> None:
    disturbed = [replace(one, disturbed_by=("b", AA_NAME, "b")) for one in samples(STEADY)[:1]]
    assert the_warning(cell([*disturbed, *samples(STEADY)[1:]])) == (
        "During 1 of 27 samples an arm whose process was stopped used the CPU (b, A/A): it has left another process "
        "behind. Measure the others without it."
    )


def test_what_happened_while_warming_up_is_no_matter() -> None:
    warm = samples([20.0, 200.0], warmup=True, disturbed_by=("b",), throttled_seconds=3.0)
    assert warnings(cell([*warm, *samples(STEADY)])) == []
