"""Warnings: what makes a result doubtful, its likely cause, and what to do. Nothing is deleted for it."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from .stats import ENOUGH_ROUNDS, scatter

if TYPE_CHECKING:
    from .results import ArmResult, Results

__all__ = ["diagnose"]

_SLOW_FIRST = 0.9  # of the arm's median
_WIDE_SCATTER = 0.1  # standard deviation / mean; pyperf warns from the same value on
_LOAD_PER_CPU = 0.25


def diagnose(results: Results) -> list[str]:
    """All warnings about an experiment, each in one sentence or two."""
    return [*_surroundings(results), *(text for arm in results.arms for text in _of_arm(results, arm))]


def _surroundings(results: Results) -> list[str]:
    found = []
    experiment = results.experiment
    if experiment.rounds < ENOUGH_ROUNDS:
        held = 1 - 2 ** (1 - experiment.rounds)
        found.append(
            f"Too few rounds ({experiment.rounds}): their interval holds the truth in only {held:.0%} of all cases, so "
            f"there is no verdict. Use --rounds {ENOUGH_ROUNDS} or more."
        )
    machine = results.facts.get("machine", {})
    load, cpus = machine.get("load_average"), machine.get("cpus_logical")
    if load and cpus and load[0] > _LOAD_PER_CPU * cpus:
        found.append(
            f"The load average was {load[0]:.2f} on {cpus} CPUs at the start: other programs were running. "
            f"Stop them, or wait a minute."
        )
    budget = results.facts.get("thread_budget", {}).get("budget")
    for arm in results.arms:
        threads = arm.arm.settings.get("n_threads")
        if not arm.is_noise and isinstance(budget, int) and isinstance(threads, int) and threads > budget:
            found.append(f"{arm.name} has {threads} threads on a budget of {budget}: they wait for one another's CPU.")
    return found


def _of_arm(results: Results, arm: ArmResult) -> list[str]:
    found = []
    if arm.ended is not None:
        found.append(f"{arm.name} ended early: {arm.ended.splitlines()[0]}")
    for metric in results.experiment.metrics:
        samples = [sample for sample in arm.samples if sample.metric == metric.name and not sample.warmup]
        if not samples:
            continue
        rates = arm.rates(metric.name)
        title = f"{arm.name}, {metric.name}"
        if len(rates) > 2 and rates[0] < _SLOW_FIRST * median(rates):
            found.append(
                f"{title}: the first value is {1 - rates[0] / median(rates):.0%} below the median, so caches or clock "
                f"speed were still settling. Use --warmup {results.experiment.warmup + 1}."
            )
        if scatter(rates) >= _WIDE_SCATTER:
            found.append(
                f"{title}: the values scatter by {scatter(rates):.0%} (standard deviation): something else uses the "
                f"machine, or its clock speed changes. Use more rounds on a quieter machine."
            )
        least = results.experiment.min_sample_seconds
        short = sum(sum(sample.seconds) < least for sample in samples)
        if short:
            found.append(f"{title}: {short} of {len(samples)} samples are shorter than {least:g} s.")
        restless = sum(not sample.quiet for sample in samples)
        if restless:
            found.append(f"{title}: before {restless} of {len(samples)} samples the arms' threads never became idle.")
        disturbed = [name for sample in samples for name in sample.disturbed_by]
        if disturbed:
            names = ", ".join(dict.fromkeys(disturbed))
            found.append(f"{title}: idle arms used the CPU during {len(disturbed)} samples ({names}).")
    return found
