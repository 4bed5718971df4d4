"""Runs an experiment: starts a worker for every arm, checks outputs, calibrates, measures in balanced rounds.

The clock, the way to sleep and the spawner are arguments. Nothing here prints; progress goes to a callback.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from .plan import Experiment, Metric, order, repeats_for
from .process import Spawner, Worker, spawn
from .protocol import PROTOCOL
from .quiet import cpu_of, disturbers, wait_until_quiet
from .results import ArmResult, Results, Sample

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ArmEnded", "Event", "Progress", "run"]


@dataclass(frozen=True)
class Progress:
    """A step was done. `stage` is ``start``, ``outputs``, ``calibrate`` or ``measure``; `done` of `total` steps of it.

    `value` is what was measured, in tokens per second; `seconds_left` the time until the last round ends.
    """

    stage: str
    done: int
    total: int
    arm: str
    metric: str | None = None
    value: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class ArmEnded:
    """An arm ended before its last round; the others go on."""

    arm: str
    reason: str


Event = Progress | ArmEnded


def run(
    experiment: Experiment,
    *,
    facts: dict[str, Any] | None = None,
    spawner: Spawner = spawn,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    on_event: Callable[[Event], None] = lambda event: None,
    save: Callable[[Results], None] = lambda results: None,
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> Results:
    """Runs all rounds and returns what was found.

    `save` is called after every round. Ctrl-C ends the experiment and returns what there is, marked
    ``interrupted``. An arm that crashes ends alone. Raises LabError if a worker does not start, or if no arm gives a
    single value.
    """
    arms = [ArmResult(arm) for arm in experiment.all_arms()]
    results = Results(experiment, arms, now().isoformat(timespec="seconds"), facts=dict(facts or {}))
    the_run = _Run(results, spawner, clock, sleep, on_event)
    try:
        the_run.start()
        the_run.check_outputs()
        the_run.calibrate()
        for round_index in range(experiment.warmup + experiment.rounds):
            the_run.measure_round(round_index)
            save(results)
        results.complete = all(arm.ended is None for arm in arms)
    except KeyboardInterrupt:
        results.interrupted = True
    finally:
        the_run.close()
    if not results.interrupted and not any(arm.samples for arm in arms):
        raise LabError("No arm could measure.\n" + "\n".join(str(arm.ended) for arm in arms))
    return results


class _Run:
    """The workers of one experiment, and the steps that use them."""

    def __init__(
        self,
        results: Results,
        spawner: Spawner,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        on_event: Callable[[Event], None],
    ) -> None:
        self._results = results
        self._experiment = results.experiment
        self._spawner = spawner
        self._clock = clock
        self._sleep = sleep
        self._on_event = on_event
        self._workers: dict[str, Worker] = {}
        self._measuring_since = 0.0
        self._measured = 0

    def start(self) -> None:
        """One process per arm, its engine and model loaded. An arm that does not start ends the experiment."""
        arms = self._results.arms
        for done, result in enumerate(arms, start=1):
            worker = self._workers[result.name] = self._spawner(result.arm)
            spoken = worker.request("hello").get("protocol")
            if spoken != PROTOCOL:
                raise LabError(
                    f"The arm {result.name!r} speaks {spoken!r}, this lab {PROTOCOL!r}: install the same version of "
                    f"llamasmith in its environment."
                )
            result.facts = worker.request(
                "load",
                engine=result.arm.engine,
                model=result.arm.model or str(self._experiment.model),
                model_options=result.arm.options("model"),
                session_options=result.arm.options("session"),
            )
            self._on_event(Progress("start", done, len(arms), result.name))
        for name in ("build", "thread_budget"):
            self._results.facts[name] = self._results.baseline.facts.get(name, {})

    def check_outputs(self) -> None:
        """What every arm generates, to be compared."""
        living = self._living()
        for done, result in enumerate(living, start=1):
            wait_until_quiet(self._workers, clock=self._clock, sleep=self._sleep)
            result.outputs = self._ask(result, "outputs", n=self._experiment.n_outputs)
            self._on_event(Progress("outputs", done, len(living), result.name))

    def calibrate(self) -> None:
        """Decides once, for all arms alike, how often a sample repeats its work."""
        steps = [(metric, result) for metric in self._experiment.metrics for result in self._living()]
        for done, (metric, result) in enumerate(steps, start=1):
            wait_until_quiet(self._workers, clock=self._clock, sleep=self._sleep)
            seconds = self._seconds_once(metric, result)
            if seconds is not None:
                self._results.calibration.setdefault(metric.name, {})[result.name] = seconds
            self._on_event(Progress("calibrate", done, len(steps), result.name, metric.name))
        for metric in self._experiment.metrics:
            known = self._results.calibration.get(metric.name, {})
            self._results.repeats[metric.name] = repeats_for(known.values(), self._experiment.min_sample_seconds)

    def _seconds_once(self, metric: Metric, result: ArmResult) -> float | None:
        once = []
        for _ in range(2):  # the first one also pays for memory that is touched for the first time
            reply = self._ask(result, "measure", metric=metric.name, n=metric.n, repeats=1, seed=self._experiment.seed)
            if reply is None:
                return None
            once.append(float(reply["seconds"][0]))
            if once[0] >= 2 * self._experiment.min_sample_seconds:
                break  # one repeat is enough in any case
        return min(once)

    def measure_round(self, round_index: int) -> None:
        """One sample of every living arm for every metric, in this round's order."""
        if round_index == 0:
            self._measuring_since = self._clock()
        for metric in self._experiment.metrics:
            for position, index in enumerate(order(len(self._results.arms), round_index)):
                result = self._results.arms[index]
                if result.ended is None:
                    self._measure(metric, result, round_index, position)

    def _measure(self, metric: Metric, result: ArmResult, round_index: int, position: int) -> None:
        quiet, waited = wait_until_quiet(self._workers, clock=self._clock, sleep=self._sleep)
        before, begin = cpu_of(self._workers), self._clock()
        reply = self._ask(
            result,
            "measure",
            metric=metric.name,
            n=metric.n,
            repeats=self._results.repeats[metric.name],
            seed=self._experiment.seed,
        )
        if reply is None:
            return
        sample = Sample(
            metric=metric.name,
            round=round_index,
            position=position,
            warmup=round_index < self._experiment.warmup,
            tokens=int(reply["tokens"]),
            seconds=tuple(float(seconds) for seconds in reply["seconds"]),
            cpu_seconds=float(reply["cpu_seconds"]),
            waited_seconds=waited,
            quiet=quiet,
            disturbed_by=tuple(disturbers(before, cpu_of(self._workers), self._clock() - begin, result.name)),
        )
        result.samples.append(sample)
        self._measured += 1
        self._report(sample, result)

    def _report(self, sample: Sample, result: ArmResult) -> None:
        per_arm = (self._experiment.warmup + self._experiment.rounds) * len(self._experiment.metrics)
        total = sum(per_arm if arm.ended is None else len(arm.samples) for arm in self._results.arms)
        each = (self._clock() - self._measuring_since) / self._measured
        left = each * (total - self._measured)
        self._on_event(Progress("measure", self._measured, total, result.name, sample.metric, sample.rate, left))

    def _ask(self, result: ArmResult, op: str, **fields: object) -> dict[str, Any] | None:
        """The reply; or None, once the arm has ended or ends here."""
        worker = self._workers.get(result.name)
        if worker is None:
            return None
        try:
            return worker.request(op, **fields)
        except LabError as error:
            result.ended = str(error)
            self._workers.pop(result.name).close(now=True)
            self._on_event(ArmEnded(result.name, result.ended))
            return None

    def _living(self) -> list[ArmResult]:
        return [result for result in self._results.arms if result.ended is None]

    def close(self) -> None:
        """Ends all workers; at once if the experiment did not come to its end."""
        for worker in self._workers.values():
            worker.close(now=not self._results.complete)
        self._workers.clear()
