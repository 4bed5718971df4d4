"""Warnings: what makes a result doubtful, its likely cause, and what to do. Nothing is deleted for it."""

from __future__ import annotations

import math
from statistics import median
from typing import TYPE_CHECKING, Any

from .extra import need
from .plan import MIN_SAMPLE_SECONDS
from .stats import enough_rounds, ratio, round_ratios, scatter, share_held

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .plan import Experiment, Metric
    from .results import CellResult, Results, Sample

__all__ = ["busy_machine", "diagnose", "diagnose_cell"]

_SLOW_FIRST = 0.9  # of the arm's median
_WIDE_SCATTER = 0.1  # standard deviation / mean; pyperf warns from the same value on
_BUSY_CPUS = 0.2

# A drift must be both beyond chance (of the order of the rounds) and worth a word.
_DRIFT_CHANCE = 0.01
_DRIFT = 0.05

# What A/A may differ by on a quiet machine.
_AA_DIFFERS = 0.02


def diagnose(results: Results) -> list[str]:
    """Warnings about the experiment as a whole: one for every cause."""
    return [*_surroundings(results), *_cells(results)]


def diagnose_cell(experiment: Experiment, cell: CellResult, facts: Mapping[str, Any]) -> list[str]:
    """Warnings about one cell, naming the arms and metrics that each touches."""
    return [
        *_threads(cell, facts),
        *_ended(cell),
        *_no_quality(cell),
        *_values(experiment, cell),
        *_drift(experiment, cell),
        *_noise(experiment, cell),
        *_samples(experiment, cell),
        *_quota(cell),
    ]


def _surroundings(results: Results) -> Iterator[str]:
    rounds, enough = results.experiment.rounds, enough_rounds(results.experiment.aa)
    if rounds < enough:
        why = f"their range holds the truth in only {share_held(rounds):.0%} of all cases"
        if rounds >= enough_rounds(True):
            why = "equal arms would be called different too often without the A/A arm"
        elif rounds == 1:
            why = "one round has no interval"
        yield f"Too few rounds ({rounds}): {why}, so there is no verdict. Use --rounds {enough} or more."
    if busy := busy_machine(results.facts):
        yield busy


def busy_machine(facts: Mapping[str, Any]) -> str | None:
    """A warning where other programs were using the CPU when the facts were taken; worth knowing before measuring."""
    busy = facts.get("machine", {}).get("busy_cpus")
    if busy and busy > _BUSY_CPUS:
        return f"Other programs were using {busy:.2f} CPUs when this began. Stop them, or wait until they are done."
    return None


def _cells(results: Results) -> Iterator[str]:
    for cell in results.cells:
        if cell.not_run:
            yield f"{cell.condition.name}: not run. {cell.not_run}"
        if cell.not_in_force:
            yield f"{cell.condition.name}: the condition was not in force, so there is no verdict. {cell.not_in_force}"


def _threads(cell: CellResult, facts: Mapping[str, Any]) -> Iterator[str]:
    budget = facts.get("thread_budget", {}).get("budget")
    if cell.condition.oversubscribe > 1 or not isinstance(budget, int):
        return
    for arm in cell.arms:
        threads = arm.arm.settings.get("n_threads")
        if not arm.is_noise and isinstance(threads, int) and threads > budget:
            yield (
                f"{arm.name} has {threads} threads on a budget of {budget}: they wait for one another's CPU. "
                f"Use t={budget} or fewer."
            )


def _ended(cell: CellResult) -> Iterator[str]:
    for arm in cell.arms:
        if arm.ended is not None:
            yield f"{arm.name} ended early: {arm.ended.splitlines()[0]}"


def _no_quality(cell: CellResult) -> Iterator[str]:
    for arm in cell.arms:
        if arm.no_quality is not None:
            yield f"{arm.name} has no perplexity: {arm.no_quality.splitlines()[0]}"


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
        worst = min(values) if metric.higher_is_better else max(values)
        if len(values) > 2 and loss < _SLOW_FIRST and values[0] == worst:
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


def _drift(experiment: Experiment, cell: CellResult) -> Iterator[str]:
    """Warnings about values that change over the rounds, which ratios do not show where all arms change alike."""
    slower, faster = {}, {}
    for title, metric, samples in _series(experiment, cell):
        change = _change(metric, samples)
        if change < -_DRIFT:
            slower[title] = -change
        elif change > _DRIFT:
            faster[title] = change
    if slower:
        yield (
            f"The last third of the rounds is up to {max(slower.values()):.0%} slower than the first "
            f"({', '.join(slower)}): heat, a clock that falls, or a program that has started. Ratios compare "
            f"within a round and stand; take no rate by itself from here."
        )
    if faster:
        yield (
            f"The last third of the rounds is up to {max(faster.values()):.0%} faster than the first "
            f"({', '.join(faster)}): the arms were still settling, or a program has ended. Ratios compare within a "
            f"round and stand; for the rates, let more rounds warm up: --warmup is {experiment.warmup}."
        )


def _change(metric: Metric, samples: list[Sample]) -> float:
    """How much faster the last third is than the first (negative: slower); 0 where that may well be chance."""
    values = [sample.value(metric) for sample in samples]
    third = len(values) // 3
    if third < 2 or not need("scipy.stats").kendalltau(range(len(values)), values).pvalue < _DRIFT_CHANCE:
        return 0.0
    times = median(values[-third:]) / median(values[:third])
    return (times if metric.higher_is_better else 1 / times) - 1


def _noise(experiment: Experiment, cell: CellResult) -> Iterator[str]:
    """A warning where the first arm differs from itself by more than the rounds explain."""
    if cell.noise is None:
        return
    differs = {}
    for metric in experiment.metrics:
        pairs = round_ratios(cell.noise.values(metric), cell.baseline.values(metric))
        if len(pairs) < enough_rounds(True):
            continue
        found = ratio(pairs)
        away = math.expm1(abs(math.log(found.estimate)))
        if away > _AA_DIFFERS and found.low is not None and found.high is not None and not found.low <= 1 <= found.high:
            differs[metric.name] = away
    if differs:
        yield (
            f"{cell.noise.name} differs from {cell.baseline.name}, which it repeats, by up to "
            f"{max(differs.values()):.0%} ({', '.join(differs)}): processes differ that much here, by where their "
            f"memory lies. Smaller effects mean nothing, and more rounds do not help: run again, with new processes."
        )


def _samples(experiment: Experiment, cell: CellResult) -> Iterator[str]:
    """Warnings about how single samples were taken."""
    total, short, disturbed = 0, 0, []
    for _, _, samples in _series(experiment, cell):
        total += len(samples)
        short += sum(sum(sample.seconds) < MIN_SAMPLE_SECONDS for sample in samples)
        disturbed += [sample.disturbed_by for sample in samples if sample.disturbed_by]
    if short:
        yield (
            f"{short} of {total} samples are shorter than {MIN_SAMPLE_SECONDS:g} s: the machine was slower while their "
            f"length was decided than afterwards. Run again on a quieter machine."
        )
    if disturbed:
        names = ", ".join(dict.fromkeys(name for several in disturbed for name in several))
        yield (
            f"During {len(disturbed)} of {total} samples an arm whose process was stopped used the CPU ({names}): it "
            f"has left another process behind. Measure the others without it."
        )


def _series(experiment: Experiment, cell: CellResult) -> Iterator[tuple[str, Metric, list[Sample]]]:
    """The samples that count, by arm and metric, each with a name for both."""
    for arm in cell.arms:
        for metric in experiment.metrics:
            if samples := arm.counted(metric):
                yield f"{arm.name} {metric.name}", metric, samples
