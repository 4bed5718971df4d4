"""Runs one cell: a worker for every arm, outputs compared, lengths decided, rounds measured, idleness watched."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from .events import ArmEnded, Event, Progress
from .plan import Experiment, Metric, order, sample_plan, split
from .quiet import cpu_of, disturbers
from .results import ArmResult, CellResult, Sample
from .worker import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .process import Spawner, Worker
    from .surroundings import Surroundings

__all__ = ["CellRun", "Tools"]


@dataclass
class Tools:
    """What a run works with, and what it has spent seconds on: ``loading``, ``comparing``, ``measuring``."""

    spawner: Spawner
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    on_event: Callable[[Event], None]
    save: Callable[[], None]
    spent: dict[str, float]
    count_samples: Callable[[], tuple[int, int]]
    """Samples measured and samples in all, over all cells."""
    round_seconds: float = 0.0
    round_samples: float = 0.0
    """Seconds that this run's samples have taken so far, with all around them; a part is a fraction of a sample."""

    @contextmanager
    def spend(self, what: str) -> Iterator[None]:
        """Adds the time of a block to what was spent."""
        begin = self.clock()
        try:
            yield
        finally:
            self.spent[what] = self.spent.get(what, 0.0) + self.clock() - begin


class CellRun:
    """The workers of one cell, and the steps that use them, in the order in which they are called."""

    def __init__(self, experiment: Experiment, cell: CellResult, surroundings: Surroundings, tools: Tools) -> None:
        self._experiment = experiment
        self._cell = cell
        self._surroundings = surroundings
        self._tools = tools
        self._workers: dict[str, Worker] = {}
        # Time ends the samples under a condition that changes: each lasts until it repeats itself.
        self._limit_seconds = cell.condition.period or experiment.limit_seconds

    def start(self) -> None:
        """One process per arm, its subject and model loaded. Raises LabError if one does not start."""
        living = self._living()
        for done, result in enumerate(living, start=1):
            with self._tools.spend("loading"):
                self._start(result)
            self._progress("start", done, len(living), result)

    def _start(self, result: ArmResult) -> None:
        arm = result.arm
        worker = self._workers[arm.name] = self._tools.spawner(arm)
        hello = worker.request("hello")
        if hello.get("protocol") != PROTOCOL:
            raise LabError(f"The arm {arm.name!r} speaks {hello.get('protocol')!r}, this lab {PROTOCOL!r}.")
        self._surroundings.admit(int(hello["pid"]))
        result.facts = worker.request(
            "load",
            subject=arm.subject,
            engine=arm.engine,
            model=arm.model or str(self._experiment.model),
            model_options=arm.options("model"),
            session_options=arm.options("session"),
            sessions=self._cell.condition.sessions,
        )
        worker.rest()

    def check_outputs(self) -> None:
        """What every arm generates, to be compared."""
        for done, result in enumerate(living := self._living(), start=1):
            with self._tools.spend("comparing"):
                reply = self._ask(result, "outputs", n=self._experiment.n_outputs, limit_seconds=self._limit_seconds)
            result.outputs = None if reply is None else reply["outputs"]
            self._progress("outputs", done, len(living), result)

    def calibrate(self) -> None:
        """Decides once, for all arms alike, how often a sample repeats its work; not again when a run is resumed."""
        if self._cell.calibration:
            return
        steps = [(metric, result) for metric in self._experiment.metrics for result in self._living()]
        found: dict[str, dict[str, float]] = {}
        for done, (metric, result) in enumerate(steps, start=1):
            with self._tools.spend("measuring"):
                seconds = self._seconds_once(metric, result)
            if seconds is not None:
                found.setdefault(metric.name, {})[result.name] = seconds
            self._progress("calibrate", done, len(steps), result, metric)
        self._cell.calibration = found
        for metric in self._experiment.metrics:
            once = found.get(metric.name, {}).values()
            repeats, parts = sample_plan(once, self._experiment.sample_seconds, self._cell.condition.period)
            self._cell.repeats[metric.name], self._cell.parts[metric.name] = repeats, parts

    def _seconds_once(self, metric: Metric, result: ArmResult) -> float | None:
        once = []
        for _ in range(2):  # the first one also pays for memory that is touched for the first time
            reply = self._sample(result, metric, 1)
            if reply is None:
                return None
            once.append(float(sum(reply["seconds"])))
            if once[0] >= self._experiment.sample_seconds:
                break  # one repeat is enough for a sample, and the second would only take its time
        return min(once)

    def _sample(self, result: ArmResult, metric: Metric, repeats: int, parts: int = 1) -> dict[str, Any] | None:
        return self._ask(
            result,
            "measure",
            metric=metric.kind,
            n=metric.n,
            repeats=repeats,
            seed=self._experiment.seed,
            limit_seconds=self._limit_seconds / parts,
        )

    def measure(self) -> None:
        """All rounds that are missing, after those that warm up; saved after each."""
        rounds = range(self._experiment.warmup + self._experiment.rounds)
        for round_index in rounds:
            self._measure_round(round_index)
            self._tools.save()

    def _measure_round(self, round_index: int) -> None:
        """One sample of every living arm for every metric, in this round's order; none if all have theirs already."""
        for metric in self._experiment.metrics:
            if not all(result.has(metric, round_index) for result in self._living()):
                self._measure_metric(metric, round_index)

    def _measure_metric(self, metric: Metric, round_index: int) -> None:
        """One sample of every living arm, in parts: A B C, then C B A, ..."""
        row = order(len(self._cell.arms), round_index)
        taken: dict[str, Sample] = {}
        parts = split(self._cell.repeats[metric.name], self._cell.parts[metric.name])
        try:
            for number, repeats in enumerate(parts, start=1):
                for position, index in enumerate(row):
                    result = self._cell.arms[index]
                    if result.ended is None:
                        begin = self._tools.clock()
                        part = self._measure_part(metric, result, round_index, position, repeats)
                        self._tools.round_seconds += self._tools.clock() - begin
                        self._tools.round_samples += 1 / len(parts)
                        if part is not None:
                            before = taken.get(result.name)
                            taken[result.name] = part if before is None else before.followed_by(part)
                    if number == len(parts) and result.name in taken:
                        self._keep(metric, result, taken.pop(result.name))
                row = row[::-1]
        finally:
            # Broken off: what is there is a sample all the same, of fewer repeats.
            for result in self._cell.arms:
                if result.name in taken:
                    result.samples.append(taken.pop(result.name))

    def _measure_part(
        self, metric: Metric, result: ArmResult, round_index: int, position: int, repeats: int
    ) -> Sample | None:
        before, begin = cpu_of(self._workers), self._tools.clock()
        throttled = self._surroundings.throttled_seconds()
        with self._tools.spend("measuring"):
            reply = self._sample(result, metric, repeats, self._cell.parts[metric.name])
        if reply is None:
            return None
        after = self._surroundings.throttled_seconds()
        return Sample(
            metric=metric.name,
            round=round_index,
            position=position,
            warmup=round_index < self._experiment.warmup,
            tokens=int(reply["tokens"]),
            seconds=tuple(float(seconds) for seconds in reply["seconds"]),
            usage=reply["usage"],
            throttled_seconds=None if throttled is None or after is None else after - throttled,
            disturbed_by=tuple(disturbers(before, cpu_of(self._workers), self._tools.clock() - begin, result.name)),
            overlap=reply.get("overlap"),
        )

    def _keep(self, metric: Metric, result: ArmResult, sample: Sample) -> None:
        result.samples.append(sample)
        done, total = self._tools.count_samples()
        each = self._tools.round_seconds / self._tools.round_samples
        self._progress("measure", done, total, result, metric, sample.value(metric), each * (total - done))

    def watch_idle(self) -> None:
        """How much CPU each arm uses right after work, when it has nothing to do; under the first condition alone."""
        seconds, metric = self._experiment.idle_seconds, self._experiment.metrics[-1]
        living = [result for result in self._living() if not result.is_noise and result.idle_cpu_seconds is None]
        if not seconds or self._cell.condition != self._experiment.conditions[0]:
            return
        for done, result in enumerate(living, start=1):
            with self._tools.spend("measuring"):
                if self._sample(result, metric, 1) is not None:
                    worker = self._workers[result.name]
                    worker.wake()
                    before = worker.cpu_seconds()
                    self._tools.sleep(seconds)
                    result.idle_cpu_seconds = worker.cpu_seconds() - before
                    worker.rest()
            self._progress("idle", done, len(living), result)

    def ask_distributions(self, result: ArmResult, **options: Any) -> dict[str, Any] | None:
        """The reply to ``distributions``, or None. An arm that cannot tell goes on living."""
        worker = self._workers.get(result.name)
        if worker is None:
            return None
        with self._tools.spend("measuring"):
            try:
                return worker.request("distributions", **options)
            finally:
                worker.rest()

    def _progress(
        self,
        stage: str,
        done: int,
        total: int,
        result: ArmResult,
        metric: Metric | None = None,
        value: float | None = None,
        left: float | None = None,
    ) -> None:
        name = None if metric is None else metric.name
        condition = self._cell.condition.name
        self._tools.on_event(Progress(stage, done, total, result.name, condition, name, value, left))

    def _ask(self, result: ArmResult, op: str, **fields: object) -> dict[str, Any] | None:
        """The reply; or None, once the arm has ended or ends here."""
        worker = self._workers.get(result.name)
        if worker is None:
            return None
        try:
            reply = worker.request(op, **fields)
            worker.rest()  # its threads go on polling for work, on the CPUs that the next arm needs
            return reply
        except LabError as error:
            result.ended = str(error)
            self._workers.pop(result.name).close(now=True)
            self._tools.on_event(ArmEnded(result.name, result.ended))
            return None

    def _living(self) -> list[ArmResult]:
        return [result for result in self._cell.arms if result.ended is None]

    def close(self, *, now: bool) -> None:
        """Ends all workers, with `now` in the midst of a sample too."""
        for worker in self._workers.values():
            worker.close(now=now)
        self._workers.clear()
