"""Warnings: what makes a result doubtful, its likely cause, and what to do. Nothing is deleted for it."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from .stats import ENOUGH_ROUNDS, scatter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .results import Results, Sample

__all__ = ["diagnose"]

_SLOW_FIRST = 0.9  # of the arm's median
_WIDE_SCATTER = 0.1  # standard deviation / mean; pyperf warns from the same value on
_LOAD_PER_CPU = 0.25


def diagnose(results: Results) -> list[str]:
    """All warnings about an experiment: one for every cause, naming the arms and metrics that it touches."""
    return [*_surroundings(results), *_ended(results), *_values(results), *_samples(results)]


def _surroundings(results: Results) -> Iterator[str]:
    experiment = results.experiment
    if experiment.rounds < ENOUGH_ROUNDS:
        held = 1 - 2 ** (1 - experiment.rounds)
        yield (
            f"Too few rounds ({experiment.rounds}): their interval holds the truth in only {held:.0%} of all cases, so "
            f"there is no verdict. Use --rounds {ENOUGH_ROUNDS} or more."
        )
    machine = results.facts.get("machine", {})
    load, cpus = machine.get("load_average"), machine.get("cpus_logical")
    if load and cpus and load[0] > _LOAD_PER_CPU * cpus:
        yield (
            f"The load average was {load[0]:.2f} on {cpus} CPUs at the start: other programs were running. "
            f"Stop them, or wait a minute."
        )
    budget = results.facts.get("thread_budget", {}).get("budget")
    for arm in results.arms:
        threads = arm.arm.settings.get("n_threads")
        if not arm.is_noise and isinstance(budget, int) and isinstance(threads, int) and threads > budget:
            yield f"{arm.name} has {threads} threads on a budget of {budget}: they wait for one another's CPU."


def _ended(results: Results) -> Iterator[str]:
    for arm in results.arms:
        if arm.ended is not None:
            yield f"{arm.name} ended early: {arm.ended.splitlines()[0]}"


def _values(results: Results) -> Iterator[str]:
    """Warnings about the values of one arm and metric."""
    slow, wide = {}, {}
    for title, samples in _series(results):
        rates = [sample.rate for sample in samples]
        if len(rates) > 2 and rates[0] < _SLOW_FIRST * median(rates):
            slow[title] = 1 - rates[0] / median(rates)
        if scatter(rates) >= _WIDE_SCATTER:
            wide[title] = scatter(rates)
    if slow:
        yield (
            f"First values up to {max(slow.values()):.0%} below the median ({', '.join(slow)}): caches or clock speed "
            f"were still settling. Use --warmup {results.experiment.warmup + 1}."
        )
    if wide:
        yield (
            f"Values scatter by up to {max(wide.values()):.0%}, standard deviation ({', '.join(wide)}): something else "
            f"uses the machine, or its clock speed changes. Use more rounds on a quieter machine."
        )


def _samples(results: Results) -> Iterator[str]:
    """Warnings about how single samples were taken."""
    least = results.experiment.min_sample_seconds
    total, short, restless, disturbed = 0, 0, 0, []
    for _, samples in _series(results):
        total += len(samples)
        short += sum(sum(sample.seconds) < least for sample in samples)
        restless += sum(not sample.quiet for sample in samples)
        disturbed += [sample.disturbed_by for sample in samples if sample.disturbed_by]
    if short:
        yield (
            f"{short} of {total} samples are shorter than {least:g} s: the machine was slower while their length was "
            f"decided than afterwards. Run again on a quieter machine."
        )
    if restless:
        yield f"Before {restless} of {total} samples the arms' threads never became idle: they go on polling."
    if disturbed:
        names = ", ".join(dict.fromkeys(name for several in disturbed for name in several))
        yield f"During {len(disturbed)} of {total} samples an arm that had nothing to do used the CPU ({names})."


def _series(results: Results) -> Iterator[tuple[str, list[Sample]]]:
    """The samples that count, by arm and metric, each with a name for both."""
    for arm in results.arms:
        for metric in results.experiment.metrics:
            samples = [sample for sample in arm.samples if sample.metric == metric.name and not sample.warmup]
            if samples:
                yield f"{arm.name} {metric.name}", samples
