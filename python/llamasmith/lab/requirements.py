"""What the figures of an experiment must reach, as data, and what a record says of them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from .condition import parse_condition
from .extra import need
from .plan import Metric, parse_metric
from .results import Sample
from .stats import CONFIDENCE, Ratio, ratio, round_ratios

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Outcome", "Requirement", "outcomes"]

_RESAMPLES = 9999

Values = dict[int, float]
"""By round."""


@dataclass(frozen=True)
class Requirement:
    """What one arm must reach under one condition: at least so much ``speed``, at the most so much ``cpu`` or ``idle``.

    Attributes:
        under: the condition, in words such as ``neighbours=2``.
        arm: its name.
        what: ``speed``; ``cpu``, which is CPU time for a token; or ``idle``, CPUs used after work with nothing to do.
        bound: a multiple of the reference; for ``idle`` a number of CPUs.
        over: the arms that the reference is the best of: the one with the best median. Not for ``idle``.
        means: the conditions whose mean is the reference, instead of the one that the arm is under. Rounds of other
            conditions are of other times: the interval is then that of several samples, not of pairs.
        low: what the low end of the interval must reach besides; for ``speed``.
        called: the reference in words, where there are better ones than a list of `over`.
    """

    under: str
    arm: str
    bound: float
    over: Sequence[str] = ()
    what: Literal["speed", "cpu", "idle"] = "speed"
    means: Sequence[str] = ()
    low: float | None = None
    called: str = ""

    @property
    def words(self) -> str:
        """What is required, in words: ``>= 0.95 x the best of yield, park``."""
        if self.what == "idle":
            return f"after work < {self.bound:.1%} of a CPU"
        best = f"the best of {', '.join(self.over)}" if len(self.over) > 1 else "".join(self.over)
        if self.means:
            best += f" under {' and '.join(self.means)}"
        if len(self.means) > 1:
            best = f"the mean of {best}"
        best = self.called or best
        if self.what == "cpu":
            return f"CPU a token <= {self.bound:.2f} x {best}"
        end = "" if self.low is None else f", low end >= {self.low:.2f}"
        return f">= {self.bound:.2f} x {best}{end}"


@dataclass(frozen=True)
class Outcome:
    """What a record says of a requirement: `met`, or why nothing can be said (`missing`).

    `found` is the ratio to `reference`, the arm that was the best one; for ``idle`` the number of CPUs.
    """

    requirement: Requirement
    condition: Mapping[str, Any]
    found: Ratio | None = None
    reference: str = ""
    missing: str = ""

    @property
    def met(self) -> bool:
        """Whether it was reached; False where nothing was measured."""
        of = self.requirement
        if self.found is None:
            return False
        if of.what != "speed":
            return self.found.estimate <= of.bound
        low = self.found.estimate if self.found.low is None else self.found.low
        return self.found.estimate >= of.bound and (of.low is None or low >= of.low)


class _Missing(Exception):
    """Nothing can be said, for this reason."""


def outcomes(record: Mapping[str, Any], requirements: Sequence[Requirement], metric: str) -> list[Outcome]:
    """One for each requirement, in their order; `metric` is a name such as ``tg64``."""
    return [_outcome(record, requirement, parse_metric(metric)) for requirement in requirements]


def _outcome(record: Mapping[str, Any], of: Requirement, metric: Metric) -> Outcome:
    condition = parse_condition(of.under).asdict()
    try:
        cell = _cell(record, of.under)
        if of.what == "idle":
            return Outcome(of, condition, Ratio(_idle_cpus(record, cell, of.arm)))
        mine = _known(cell, of.arm, metric, of.what)
        if of.means:
            others = [_known(_cell(record, words), of.over[0], metric, of.what) for words in of.means]
            return Outcome(of, condition, _to_mean(mine, others, record["plan"]["seed"]), of.over[0])
        name, others_best = _best(cell, of, metric)
        pairs = round_ratios(mine, others_best)
        if not pairs:
            raise _Missing(f"{of.arm} and {name} have no round in common")
        return Outcome(of, condition, ratio(pairs), name)
    except _Missing as reason:
        return Outcome(of, condition, missing=str(reason))


def _cell(record: Mapping[str, Any], words: str) -> Mapping[str, Any]:
    """The cell of a condition. Raises _Missing where it is not there, or says nothing."""
    name = parse_condition(words).name
    cell: Mapping[str, Any] | None = next((one for one in record["cells"] if one["condition"]["name"] == name), None)
    if cell is None:
        raise _Missing(f"{name} is not part of this record")
    if reason := cell["not_run"] or cell["not_in_force"]:
        raise _Missing(f"{name}: {reason}")
    return cell


def _values(cell: Mapping[str, Any], name: str, metric: Metric, what: str) -> Values:
    """Rates (for a time, its inverse) or CPU seconds for a token, by round; none where the arm has none."""
    raw = [fields for arm in cell["arms"] if arm["name"] == name for fields in arm["raw"]]
    samples = [sample for sample in map(Sample.from_dict, raw) if sample.metric == metric.name and not sample.warmup]
    if what == "cpu":
        return {sample.round: sample.usage["cpu_seconds"] / sample.tokens for sample in samples if sample.usage}
    return {sample.round: sample.value(metric) ** (1 if metric.higher_is_better else -1) for sample in samples}


def _known(cell: Mapping[str, Any], name: str, metric: Metric, what: str) -> Values:
    values = _values(cell, name, metric, what)
    if not values:
        ended = next((arm["ended"] for arm in cell["arms"] if arm["name"] == name and arm["ended"]), "")
        why = f": {ended.splitlines()[0]}" if ended else ""
        raise _Missing(f"{name} has no value under {cell['condition']['name']}{why}")
    return values


def _best(cell: Mapping[str, Any], of: Requirement, metric: Metric) -> tuple[str, Values]:
    """The arm of `of.over` with the best median, and its values; those that have none are passed over."""
    found = {name: values for name in of.over if (values := _values(cell, name, metric, of.what))}
    if not found:
        raise _Missing(f"{' and '.join(of.over)} have no value under {cell['condition']['name']}")
    choose = min if of.what == "cpu" else max
    return choose(found.items(), key=lambda item: median(item[1].values()))


def _idle_cpus(record: Mapping[str, Any], cell: Mapping[str, Any], name: str) -> float:
    used = next((arm["idle_cpu_seconds"] for arm in cell["arms"] if arm["name"] == name), None)
    seconds = record["plan"]["idle_seconds"]
    if used is None or not seconds:
        raise _Missing(f"{name} was not watched while idle")
    return float(used) / float(seconds)


def _to_mean(mine: Values, others: Sequence[Values], seed: int) -> Ratio:
    """How one median is to the mean of others', with the percentile bootstrap's interval; rounds are no pairs."""
    numpy = need("numpy")
    samples = [numpy.asarray(list(values.values())) for values in (mine, *others)]

    def quotient(medians: Sequence[Any]) -> Any:
        return medians[0] / (sum(medians[1:]) / len(others))

    estimate = float(quotient([numpy.median(sample) for sample in samples]))
    if min(map(len, samples)) < 2:
        return Ratio(estimate)
    random = numpy.random.default_rng(seed)
    drawn = [numpy.median(random.choice(sample, (_RESAMPLES, len(sample))), axis=1) for sample in samples]
    tail = (1 - CONFIDENCE) / 2
    low, high = numpy.quantile(quotient(drawn), [tail, 1 - tail])
    return Ratio(estimate, float(low), float(high), min(map(len, samples)))
