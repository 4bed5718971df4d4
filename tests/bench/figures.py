"""How often a benchmark is repeated; figures that are differences of two times, measured in alternation."""

from __future__ import annotations

import time
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["alternate", "keep", "lines", "rounds_for"]

# A busy or overcommitted machine may need a thousand times as long; a run still ends within minutes, with few rounds.
SECONDS = 4.0
FEWEST = 3


def rounds_for(
    benchmark: Any, once: Callable[[], object], most: int, clock: Callable[[], float] = time.perf_counter
) -> int:
    """`most` rounds; fewer, but 3 at the least, where they would take longer than 4 s; 1 where nothing is measured.

    Calls `once` to find out, which is the first warm-up too.
    """
    if not benchmark.enabled:
        return 1
    start = clock()
    once()
    return max(FEWEST, min(most, int(SECONDS / max(clock() - start, 1e-9))))


def alternate(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each measure gives, by round. Every other round goes the other way (A B B A), against drift."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for i in range(rounds):
        for name in list(measures)[:: 1 if i % 2 == 0 else -1]:
            values[name].append(measures[name]())
    return values


def keep(benchmark: Any, name: str, unit: str, values: Sequence[float]) -> None:
    """Stores a figure with the benchmark: its median and quartiles over rounds, and the values themselves."""
    low, _, high = quantiles(values, n=4) if len(values) > 1 else (None, None, None)
    benchmark.extra_info[name] = {
        "unit": unit,
        "median": median(values),
        "quartiles": [low, high],
        "values": list(values),
    }


def lines(benchmarks: Iterable[Any]) -> list[str]:
    """One line for each figure that was kept: benchmark, median, quartiles."""
    found = []
    for benchmark in sorted(benchmarks, key=lambda one: str(one.name)):
        for name, figure in benchmark.extra_info.items():
            if isinstance(figure, dict) and "quartiles" in figure:
                low, high = figure["quartiles"]
                between = "" if low is None else f"  [{low:,.0f} .. {high:,.0f}]"
                label = f"{benchmark.name.removeprefix('test_')} {name}"
                found.append(f"{label:<34} {figure['median']:>10,.0f} {figure['unit']}{between}")
    return found
