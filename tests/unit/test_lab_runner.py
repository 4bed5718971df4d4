"""The runner in a made-up world without time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lab_world import METRICS, POLL_SECONDS, FakeWorker, World, experiment

from llamasmith.errors import LabError
from llamasmith.lab.condition import Condition
from llamasmith.lab.events import ArmEnded, CellNotRun, Event, Progress
from llamasmith.lab.plan import Experiment, Metric
from llamasmith.lab.process import WorkerDied, WorkerRefused
from llamasmith.lab.record import build_record, restore_results
from llamasmith.lab.runner import run

if TYPE_CHECKING:
    from llamasmith.lab.arm import Arm
    from llamasmith.lab.results import CellResult, Results

PP, TG = METRICS
BUSY = Condition(neighbours=2)


def only_cell(results: Results) -> CellResult:
    (cell,) = results.cells
    return cell


def test_an_experiment_from_start_to_end() -> None:
    world = World({"a": 100.0, "b": 200.0})
    saved: list[int] = []
    results = world.run(experiment(), save=lambda found: saved.append(len(found.cells[0].arms[1].samples)))
    cell = only_cell(results)
    assert results.complete
    assert not results.interrupted
    assert results.started == "2026-01-02T00:00:00+00:00"
    assert [list(arm.values(PP).values()) for arm in cell.arms] == [[pytest.approx(rate)] * 4 for rate in (100, 200)]
    assert [sum(sample.warmup for sample in arm.samples) for arm in cell.arms] == [2, 2]
    assert saved == [2, 4, 6, 8, 10, 10]  # after every round, warm-up included, and at the end
    assert world.closed == [("a", False), ("b", False)]


def test_load_gets_the_settings_apart() -> None:
    world = World({"a": 100.0})
    world.run(experiment("a"))
    asked = world.asked["a"]
    assert (asked["model"], asked["subject"], asked["engine"]) == ("m.gguf", "llamasmith", "patched")
    assert asked["model_options"] == {"use_extra_bufts": True}
    assert asked["session_options"]["n_threads"] == 2
    assert "use_extra_bufts" not in asked["session_options"]


def test_rounds_are_interleaved() -> None:
    world = World({"a": 100.0, "b": 200.0})
    results = world.run(experiment(metrics=(PP,), warmup=0))
    measured = [name for name, op in world.log if op == "measure"][-8:]
    assert "".join(measured) == "abbaabba"
    assert [sample.position for sample in only_cell(results).arms[0].samples] == [0, 1, 0, 1]


def test_all_arms_repeat_as_often_as_the_fastest_needs() -> None:
    cell = only_cell(World({"a": 100.0, "b": 1000.0}).run(experiment()))
    assert cell.calibration["pp50"] == pytest.approx({"a": 0.5, "b": 0.05})
    assert cell.repeats == {"pp50": 5, "tg10": 25}
    for arm in cell.arms:
        assert all(sum(sample.seconds) >= 0.2 for sample in arm.samples)
        assert {len(sample.seconds) for sample in arm.samples if sample.metric == "tg10"} == {25}


def test_a_sample_of_an_arm_that_is_slower_by_far_ends_early() -> None:
    cell = only_cell(World({"a": 1.0, "b": 1000.0}).run(experiment(rounds=1, warmup=0)))
    slow = next(sample for sample in cell.arms[0].samples if sample.metric == "tg10")
    assert len(slow.seconds) < cell.repeats["tg10"]
    assert slow.value(TG) == pytest.approx(1.0)


def test_the_limit_holds_for_all_parts_together() -> None:
    cell = only_cell(World({"a": 50.0, "b": 1000.0}).run(experiment(metrics=(PP,), rounds=1, sample_seconds=1.0)))
    assert (cell.repeats, cell.parts) == ({"pp50": 25}, {"pp50": 4})
    assert {len(sample.seconds) for sample in cell.arms[0].samples} == {12}  # of 1 s each: 3 in each part


def test_the_first_arm_is_repeated_as_the_noise_floor() -> None:
    cell = only_cell(World({"a": 100.0, "b": 200.0, "A/A": 101.0}).run(experiment(aa=True)))
    assert [arm.name for arm in cell.arms] == ["a", "b", "A/A"]
    assert cell.noise is cell.arms[2]
    assert cell.noise.arm.settings == cell.baseline.arm.settings


def test_arms_that_do_not_measure_are_stopped() -> None:
    """Their threads would go on polling for work, on the CPUs that another arm needs."""
    world = World({"a": 100.0, "b": 200.0})
    cell = only_cell(world.run(experiment()))
    assert {sample.disturbed_by for arm in cell.arms for sample in arm.samples} == {()}
    world = World({"a": 100.0, "b": 200.0}, leaky=True)
    cell = only_cell(world.run(experiment()))
    assert cell.complete
    assert {sample.disturbed_by for sample in cell.arms[0].samples} == {("b",)}


def test_long_samples_are_taken_in_parts_forwards_and_backwards() -> None:
    world = World({"a": 100.0, "b": 200.0, "c": 200.0})
    results = world.run(experiment("abc", metrics=(PP,), warmup=0, rounds=2, sample_seconds=1.0))
    cell = only_cell(results)
    assert (cell.repeats, cell.parts) == ({"pp50": 5}, {"pp50": 4})  # of 0.25 s each, for b and c
    measured = "".join(name for name, op in world.log if op == "measure")
    assert measured.endswith("abccbaabccbacbaabccbaabc")
    sample = cell.arms[0].samples[0]
    assert (sample.tokens, len(sample.seconds), sample.position) == (250, 5, 0)
    assert sample.usage is not None
    assert sample.usage["cpu_seconds"] == pytest.approx(2 * sum(sample.seconds))
    assert all(len(arm.samples) == 2 for arm in cell.arms)


def test_parts_that_were_measured_before_a_stop_are_kept() -> None:
    change: dict[str, Any] = {"metrics": (PP,), "warmup": 0, "rounds": 2, "sample_seconds": 1.0}
    world = World({"a": 100.0, "b": 200.0}, disasters={("b", 5): KeyboardInterrupt()})  # 2 calibrate
    results = world.run(experiment(**change))
    a, b = only_cell(results).arms
    # The fourth part begins with b: three are there, of 2, 1 and 1 repeats.
    assert [len(sample.seconds) for sample in (*a.samples, *b.samples)] == [4, 4]
    assert b.values(PP)[0] == pytest.approx(200.0)
    world.disasters.clear()
    assert world.resume(through_a_record(results)).complete


def test_an_arm_is_watched_doing_nothing() -> None:
    world = World({"a": 100.0, "A/A": 100.0}, idle_cpus=0.5)
    cell = only_cell(world.run(experiment("a", aa=True, idle_seconds=4.0)))
    # It polls first, then uses half a CPU.
    assert cell.arms[0].idle_cpu_seconds == pytest.approx(POLL_SECONDS + 0.5 * (4.0 - POLL_SECONDS))
    assert cell.arms[1].idle_cpu_seconds is None  # the same arm once more


def test_idleness_is_watched_under_the_first_condition() -> None:
    cells = World({"a": 100.0}).run(experiment("a", idle_seconds=4.0, conditions=(Condition(), BUSY))).cells
    assert cells[0].arms[0].idle_cpu_seconds == pytest.approx(POLL_SECONDS)
    assert cells[1].arms[0].idle_cpu_seconds is None


def test_samples_end_with_the_limit_and_last_for_a_period() -> None:
    change: dict[str, Any] = {"metrics": (Metric("tg", 100),), "limit_seconds": 3.0, "sample_seconds": 0.8}
    idle, turns = (
        World({"a": 100.0, "b": 40.0}).run(experiment(conditions=(condition,), **change)).cells[0]
        for condition in (Condition(), Condition(neighbours=1, every=2.0))
    )
    assert [len(arm.samples[0].seconds) for arm in idle.arms] == [1, 1]
    assert [sum(arm.samples[0].seconds) for arm in turns.arms] == [4.0, 5.0]  # whole repeats of this stand-in


def test_throttling_belongs_to_the_sample() -> None:
    cell = only_cell(World({"a": 100.0}, throttles=True).run(experiment("a")))
    sample = cell.arms[0].samples[0]
    assert sample.throttled_seconds == pytest.approx(sum(sample.seconds) / 10)


def test_a_crash_ends_one_arm_and_keeps_its_values() -> None:
    # 4 measurements calibrate b and 2 warm it up: this one is the first of its second round that counts.
    world = World({"a": 100.0, "b": 200.0}, disasters={("b", 7): WorkerDied("The arm 'b' was ended by signal 11.")})
    events: list[Event] = []
    results = world.run(experiment(), on_event=events.append)
    a, b = only_cell(results).arms
    assert not results.complete
    assert len(a.values(PP)) == 4
    assert 0 < len(b.values(PP)) < 4
    assert b.ended == "The arm 'b' was ended by signal 11."
    assert ArmEnded("b", b.ended) in events
    assert world.closed[0] == ("b", True)
    done = [event for event in events if isinstance(event, Progress) and event.stage == "measure"][-1]
    assert (done.done, done.total, done.seconds_left) == (done.total, done.total, 0.0)


def test_ctrl_c_keeps_what_was_measured() -> None:
    world = World({"a": 100.0, "b": 200.0}, disasters={("a", 9): KeyboardInterrupt()})
    results = world.run(experiment())
    assert results.interrupted
    assert not results.complete
    assert only_cell(results).arms[0].values(PP)
    assert world.closed == [("a", True), ("b", True)]


def test_no_value_at_all_is_an_error() -> None:
    world = World({"a": 100.0}, disasters={("a", 0): WorkerRefused("ContextFull: 50 tokens")})
    with pytest.raises(LabError, match="ContextFull"):
        world.run(experiment("a"))
    assert world.closed == [("a", True)]


def test_a_worker_that_does_not_start_ends_all() -> None:
    world = World({"a": 100.0, "b": 200.0})

    def spawner(arm: Arm) -> FakeWorker:
        if arm.name == "b":
            raise WorkerDied("The arm 'b' did not start.")
        return world.spawn(arm)

    with pytest.raises(LabError, match="'b' did not start"):
        run(experiment(), **world.tools() | {"spawner": spawner})
    assert world.closed == [("a", True)]


def test_another_version_of_the_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeWorker, "hello", lambda self: {"protocol": "llamasmith.worker/0"})
    with pytest.raises(LabError, match=r"speaks 'llamasmith\.worker/0'"):
        World({"a": 1.0}).run(experiment("a"))


def test_progress_knows_the_time_left() -> None:
    events: list[Event] = []
    World({"a": 100.0, "b": 100.0}).run(experiment(), on_event=events.append)
    steps = [event for event in events if isinstance(event, Progress) and event.stage == "measure"]
    assert [step.done for step in steps] == list(range(1, 21))
    assert {step.total for step in steps} == {20}
    left = [step.seconds_left for step in steps if step.seconds_left is not None]
    assert left[0] > left[10] > left[-1] == 0.0


# Conditions.


def test_every_condition_is_a_cell_of_its_own() -> None:
    world = World({"a": 100.0, "b": 200.0})
    results = world.run(experiment(conditions=(Condition(), BUSY, Condition(oversubscribe=2))))
    assert world.created == ["idle", "idle is over", "neighbours=2", "neighbours=2 is over", *world.created[4:]]
    assert [cell.condition.name for cell in results.cells] == ["idle", "neighbours=2", "oversubscribe=2"]
    assert {cell.in_force for cell in results.cells} == {"seen to be in force"}
    assert [cell.arms[0].arm.settings["n_threads"] for cell in results.cells] == [2, 2, 4]
    assert len(world.closed) == 6


def test_a_condition_that_cannot_be_created_is_not_run_and_the_others_are() -> None:
    events: list[Event] = []
    world = World({"a": 100.0}, cannot={"quota=1": "No quota can be set here."})
    results = world.run(experiment("a", conditions=(Condition(quota=1.0), Condition())), on_event=events.append)
    assert [cell.not_run for cell in results.cells] == ["No quota can be set here.", None]
    assert CellNotRun("quota=1", "No quota can be set here.") in events
    assert results.complete
    steps = [event for event in events if isinstance(event, Progress) and event.stage == "measure"]
    assert steps[0].total == steps[-1].done == 10


def test_a_condition_that_was_not_in_force_is_told() -> None:
    results = World({"a": 100.0}).run(experiment("a", conditions=(Condition(quota=1.0),)))
    assert only_cell(results).not_in_force == "The quota of 1 CPUs has never stopped an arm: they need less."


def test_only_conditions_that_cannot_be_created_are_an_error() -> None:
    world = World({"a": 100.0}, cannot={"quota=1": "No quota can be set here."})
    with pytest.raises(LabError, match="quota=1: No quota can be set here"):
        world.run(experiment("a", conditions=(Condition(quota=1.0),)))


def test_a_worker_that_dies_in_a_later_cell_loses_nothing_of_the_first() -> None:
    world = World({"a": 100.0})
    spawned: list[Arm] = []

    def spawner(arm: Arm) -> FakeWorker:
        spawned.append(arm)
        if len(spawned) == 2:
            raise WorkerDied("The arm 'a' did not start.")
        return world.spawn(arm)

    results = run(experiment("a", conditions=(Condition(), BUSY)), **world.tools() | {"spawner": spawner})
    assert results.cells[0].complete
    assert results.cells[1].not_run == "The arm 'a' did not start."


# Going on with what was interrupted.


def through_a_record(results: Results) -> Results:
    """As a file would give it back."""
    record = json.loads(json.dumps(build_record(results)))
    plan = Experiment.from_plan(record["plan"], Path, record["command"])
    return restore_results(record, plan)


def interrupted(world: World, at: int, **change: Any) -> Results:
    world.disasters[("b", at)] = KeyboardInterrupt()
    results = world.run(experiment(**change))
    assert results.interrupted
    world.disasters.clear()
    world.log.clear()
    return through_a_record(results)


def test_a_resumed_run_measures_what_is_missing() -> None:
    world = World({"a": 100.0, "b": 200.0})
    kept = interrupted(world, 9)  # calibration 4 (2 each), warm-up 2: in its second round that counts
    before = [list(arm.samples) for arm in only_cell(kept).arms]
    results = world.resume(kept)
    cell = only_cell(results)
    assert results.complete
    assert not results.interrupted
    assert all(set(arm.values(metric)) == {1, 2, 3, 4} for arm in cell.arms for metric in METRICS)
    assert all(arm.samples[: len(old)] == old for arm, old in zip(cell.arms, before, strict=True))
    # Calibrated already: as many measurements as samples, and one more round of warm-up.
    assert sum(op == "measure" for _, op in world.log) == sum(len(arm.samples) for arm in cell.arms) - sum(
        len(old) for old in before
    )
    assert sum(sample.warmup for sample in cell.arms[0].samples) == 4


def test_a_round_that_was_broken_off_is_done_again_by_all_arms() -> None:
    world = World({"a": 100.0, "b": 200.0})
    kept = interrupted(
        world, 7
    )  # 3 calibrate, 2 warm up, 2 are the first round that counts: in the second, a comes first
    a, b = only_cell(kept).arms
    assert (set(a.values(PP)), set(b.values(PP))) == ({1, 2}, {1})
    cell = only_cell(world.resume(kept))
    assert [sample.round for sample in cell.arms[0].counted(PP)] == [1, 2, 2, 3, 4]
    assert [sample.round for sample in cell.arms[1].counted(PP)] == [1, 2, 3, 4]


def test_what_is_finished_is_not_run_again() -> None:
    world = World({"a": 100.0, "b": 200.0}, disasters={("b", 7): WorkerDied("It was ended by signal 11.")})
    kept = through_a_record(world.run(experiment()))
    world.log.clear()
    results = world.resume(kept)
    assert world.log == []
    assert not results.complete
    assert only_cell(results).arms[1].ended == "It was ended by signal 11."


def test_the_time_of_both_runs_counts() -> None:
    world = World({"a": 100.0, "b": 200.0})
    kept = interrupted(world, 9)
    before = dict(kept.spent)
    results = world.resume(kept)
    assert results.spent["wall"] > before["wall"] > 0
    assert results.spent["measuring"] > before["measuring"]
    assert results.spent["measuring"] <= results.spent["wall"]


def test_a_metric_of_a_plan_survives_the_record() -> None:
    plan = experiment(metrics=(Metric("ttft", 16),), conditions=(BUSY,), seed=7)
    again = Experiment.from_plan(json.loads(json.dumps(plan.plan())), Path, plan.command)
    assert again == Experiment(**{**vars(plan), "model_name": "m.gguf"})
