"""Warnings: what makes a result doubtful, its likely cause, and what to do. Nothing is deleted for it."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from .plan import MIN_SAMPLE_SECONDS
from .stats import ENOUGH_ROUNDS, scatter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .plan import Experiment, Metric
    from .results import CellResult, Results, Sample

__all__ = ["diagnose", "diagnose_cell"]

_SLOW_FIRST = 0.9  # of the arm's median
_WIDE_SCATTER = 0.1  # standard deviation / mean; pyperf warns from the same value on
_BUSY_CPUS = 0.2


def diagnose(results: Results) -> list[str]:
    """Warnings about the experiment as a whole: one for every cause."""
    return [*_surroundings(results), *_cells(results)]


def diagnose_cell(experiment: Experiment, cell: CellResult, facts: Mapping[str, Any]) -> list[str]:
    """Warnings about one cell, naming the arms and metrics that each touches."""
    return [
        *_threads(cell, facts),
        *_ended(cell),
        *_values(experiment, cell),
        *_samples(experiment, cell),
        *_quota(cell),
    ]


def _surroundings(results: Results) -> Iterator[str]:
    rounds = results.experiment.rounds
    if rounds < ENOUGH_ROUNDS:
        held = 1 - 2 ** (1 - rounds)
        yield (
            f"Too few rounds ({rounds}): their interval holds the truth in only {held:.0%} of all cases, so there is "
            f"no verdict. Use --rounds {ENOUGH_ROUNDS} or more."
        )
    busy = results.facts.get("machine", {}).get("busy_cpus")
    if busy and busy > _BUSY_CPUS:
        yield (
            f"Other programs were using {busy:.2f} CPUs when this began. Stop them, or wait until they have done."
        )


def _cells(results: Results) -> Iterator[str]:
    for cell in results.cells:
        if cell.not_run:
            yield f"{cell.condition.name}: not run. {cell.not_run}"
        if cell.not_in_force:
            yield f"{cell.condition.name}: the condition was not in force, so there is no verdict. {cell.not_in_force}"


def _threads(cell: CellResult, facts: Mapping[str, Any]) -> Iterator[str]:
    budget = facts.get("thread_budget", {}).get("budget")
    for arm in cell.arms:
        threads = arm.arm.settings.get("n_threads")
        asked_for = cell.condition.oversubscribe > 1
        if not arm.is_noise and not asked_for and isinstance(budget, int) and isinstance(threads, int):
            if threads > budget:
                yield f"{arm.name} has {threads} threads on a budget of {budget}: they wait for one another's CPU."


def _ended(cell: CellResult) -> Iterator[str]:
    for arm in cell.arms:
        if arm.ended is not None:
            yield f"{arm.name} ended early: {arm.ended.splitlines()[0]}"


def _quota(cell: CellResult) -> Iterator[str]:
    if cell.condition.quota is not None:
        return
    throttled = {
        arm.name: seconds
        for arm in cell.arms
        if (seconds := sum(sample.throttled_seconds or 0.0 for sample in arm.samples if not sample.warmup)) > 0
    }
    if throttled:
        most = max(throttled.values())
        yield (
            f"A cgroup quota stopped the arms for up to {most:.2f} s ({', '.join(throttled)}): use no more threads "
            f"than the quota allows."
        )


def _values(experiment: Experiment, cell: CellResult) -> Iterator[str]:
    """Warnings about the values of one arm and metric."""
    slow, wide = {}, {}
    for title, metric, samples in _series(experiment, cell):
        values = [sample.value(metric) for sample in samples]
        loss = values[0] / median(values) if metric.higher_is_better else median(values) / values[0]
        if len(values) > 2 and loss < _SLOW_FIRST:
            slow[title] = 1 - loss
        if scatter(values) >= _WIDE_SCATTER:
            wide[title] = scatter(values)
    if slow:
        yield (
            f"First values up to {max(slow.values()):.0%} worse than the median ({', '.join(slow)}): caches or clock "
            f"speed were still settling. Use --warmup {experiment.warmup + 1}."
        )
    if wide:
        yield (
            f"Values scatter by up to {max(wide.values()):.0%}, standard deviation ({', '.join(wide)}): something else "
            f"uses the machine, or its clock speed changes. Use more rounds on a quieter machine."
        )


def _samples(experiment: Experiment, cell: CellResult) -> Iterator[str]:
    """Warnings about how single samples were taken."""
    total, short, restless, disturbed = 0, 0, 0, []
    for _, _, samples in _series(experiment, cell):
        total += len(samples)
        short += sum(sum(sample.seconds) < MIN_SAMPLE_SECONDS for sample in samples)
        restless += sum(not sample.quiet for sample in samples)
        disturbed += [sample.disturbed_by for sample in samples if sample.disturbed_by]
    if short:
        yield (
            f"{short} of {total} samples are shorter than {MIN_SAMPLE_SECONDS:g} s: the machine was slower while their "
            f"length was decided than afterwards. Run again on a quieter machine."
        )
    if restless:
        yield f"Before {restless} of {total} samples the arms' threads never became idle: they go on polling."
    if disturbed:
        names = ", ".join(dict.fromkeys(name for several in disturbed for name in several))
        yield f"During {len(disturbed)} of {total} samples an arm that had nothing to do used the CPU ({names})."


def _series(experiment: Experiment, cell: CellResult) -> Iterator[tuple[str, Metric, list[Sample]]]:
    """The samples that count, by arm and metric, each with a name for both."""
    for arm in cell.arms:
        for metric in experiment.metrics:
            if samples := arm.counted(metric):
                yield f"{arm.name} {metric.name}", metric, samples
