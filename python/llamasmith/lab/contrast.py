"""Several records side by side, by their ratios to the first arm, which all of them have measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from .compare import check_comparable
from .extra import need
from .plan import Metric, parse_metric
from .results import Sample
from .stats import CONFIDENCE, Ratio, round_ratios

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Contrast", "ContrastRow", "contrast"]

_RESAMPLES = 9999


@dataclass(frozen=True)
class ContrastRow:
    """An arm in one of the records: `record` counts from 1; `ratio` is to the first arm of that record.

    `change` is how this ratio compares with the same arm's in the first record that has it; None in that one.
    """

    record: int
    arm: str
    median: float | None
    ratio: Ratio | None
    change: Ratio | None


@dataclass(frozen=True)
class Contrast:
    """One condition and metric that all records have."""

    condition: str
    metric: Metric
    rows: tuple[ContrastRow, ...]


def contrast(records: Sequence[Mapping[str, Any]]) -> list[Contrast]:
    """One table for each condition and metric. Raises LabError where the records differ in more than their arms."""
    if len(records) < 2:
        raise LabError("One record has nothing to compare with: give two or more.")
    check_comparable(records)
    found = []
    for index, cell in enumerate(records[0]["cells"]):
        cells = [record["cells"][index] for record in records]
        for name in cell["metrics"]:
            metric = parse_metric(name)
            rows = tuple(_rows(cells, metric, records[0]["plan"]["seed"]))
            found.append(Contrast(cell["condition"]["name"], metric, rows))
    return found


def _rows(cells: Sequence[Mapping[str, Any]], metric: Metric, seed: int) -> Iterator[ContrastRow]:
    seen: dict[str, list[float]] = {}
    for number, cell in enumerate(cells, start=1):
        baseline = _values(cell["arms"][0], metric)
        summary = cell["metrics"][metric.name]
        for index, arm in enumerate(cell["arms"]):
            found = summary["ratio"].get(arm["name"])
            ratio = Ratio(found["estimate"], found["low"], found["high"], found["rounds"]) if found else None
            pairs = round_ratios(_values(arm, metric), baseline) if index else []
            earlier = seen.get(_identity(arm))
            changed = _change(earlier, pairs, seed) if earlier and pairs else None
            if pairs and not arm["repeats_first"]:
                seen.setdefault(_identity(arm), pairs)
            yield ContrastRow(number, arm["name"], summary["median"][arm["name"]], ratio, changed)


def _change(earlier: Sequence[float], later: Sequence[float], seed: int) -> Ratio:
    """How one median is to another, with its bootstrap interval: two samples, for rounds of two runs are no pairs."""
    numpy, stats = need("numpy"), need("scipy.stats")
    times = numpy.median(later) / numpy.median(earlier)
    if min(len(earlier), len(later)) < 2:
        return Ratio(float(times))
    interval = stats.bootstrap(
        (numpy.asarray(earlier), numpy.asarray(later)),
        lambda one, other, axis: numpy.median(other, axis=axis) / numpy.median(one, axis=axis),
        confidence_level=CONFIDENCE,
        n_resamples=_RESAMPLES,
        method="percentile",
        vectorized=True,
        random_state=numpy.random.default_rng(seed),
    ).confidence_interval
    return Ratio(float(times), float(interval.low), float(interval.high), min(len(earlier), len(later)))


def _values(arm: Mapping[str, Any], metric: Metric) -> dict[int, float]:
    samples = [Sample.from_dict(fields) for fields in arm["raw"]]
    counted = [sample for sample in samples if sample.metric == metric.name and not sample.warmup]
    return {sample.round: sample.value(metric) for sample in counted}


def _identity(arm: Mapping[str, Any]) -> str:
    """What makes two arms of different records the same: all but the name."""
    return repr((arm["repeats_first"], arm["engine"], arm["model"], sorted(arm["settings"].items())))
