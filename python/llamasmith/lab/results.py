"""What an experiment has found so far: every raw value, warm-up included, in the order in which it was measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .arm import AA_NAME, Arm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .condition import Condition
    from .plan import Experiment, Metric

__all__ = ["ArmResult", "CellResult", "Results", "Sample"]


@dataclass(frozen=True)
class Sample:
    """One measurement, taken in one part or several: the `tokens` of all repeats, and the `seconds` of each.

    `usage` is what the process has used for it (see `worker.usage`), None where it cannot know. `throttled_seconds` is
    the time that a cgroup's quota has stopped the arms, None where no quota is known. `disturbed_by` names arms that
    used the CPU during the sample although they were stopped.
    """

    metric: str
    round: int
    position: int
    warmup: bool
    tokens: int
    seconds: tuple[float, ...]
    usage: Mapping[str, float] | None
    throttled_seconds: float | None
    disturbed_by: tuple[str, ...] = ()
    overlap: float | None = None

    def value(self, metric: Metric) -> float:
        """In the metric's unit: tokens per second of the whole sample, or milliseconds of a repeat."""
        total = sum(self.seconds)
        return total / len(self.seconds) * 1e3 if metric.unit == "ms" else self.tokens / total

    def asdict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self) | {"seconds": list(self.seconds), "disturbed_by": list(self.disturbed_by)}

    def followed_by(self, part: Sample) -> Sample:
        """The same sample with one more part."""
        usage = None
        if self.usage is not None and part.usage is not None:
            usage = {name: value + part.usage[name] for name, value in self.usage.items()}
            usage["peak_rss_bytes"] = part.usage["peak_rss_bytes"]
        throttled = None
        if self.throttled_seconds is not None and part.throttled_seconds is not None:
            throttled = self.throttled_seconds + part.throttled_seconds
        overlaps = [one for one in (self.overlap, part.overlap) if one is not None]
        return replace(
            self,
            tokens=self.tokens + part.tokens,
            seconds=self.seconds + part.seconds,
            usage=usage,
            throttled_seconds=throttled,
            disturbed_by=tuple(dict.fromkeys(self.disturbed_by + part.disturbed_by)),
            overlap=min(overlaps, default=None),
        )

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Sample:
        """The sample that `asdict()` described."""
        return cls(
            **{**fields, "seconds": tuple(fields["seconds"]), "disturbed_by": tuple(fields["disturbed_by"])},
        )


@dataclass
class ArmResult:
    """One arm and all that it gave. `ended` says why it ended before its last round; None if it did not.

    `idle_cpu_seconds` is what the process used in the seconds after its last round, with nothing to do. `no_quality`
    says why there is no `quality` although it was asked for.
    """

    arm: Arm
    facts: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] | None = None
    samples: list[Sample] = field(default_factory=list)
    idle_cpu_seconds: float | None = None
    quality: dict[str, Any] | None = None
    no_quality: str | None = None
    ended: str | None = None

    @property
    def name(self) -> str:
        """The arm's name."""
        return self.arm.name

    @property
    def is_noise(self) -> bool:
        """Whether this is the repetition of the first arm."""
        return self.arm.name == AA_NAME

    def counted(self, metric: Metric) -> list[Sample]:
        """The samples that count, in the order of rounds."""
        return [sample for sample in self.samples if sample.metric == metric.name and not sample.warmup]

    def values(self, metric: Metric) -> dict[int, float]:
        """In the metric's unit, by round, of the samples that count; the last one, where a round was begun again."""
        return {sample.round: sample.value(metric) for sample in self.counted(metric)}

    def has(self, metric: Metric, round_index: int) -> bool:
        """Whether this round's sample that counts is there already."""
        return round_index in self.values(metric)


@dataclass
class CellResult:
    """The arms under one condition. `calibration` holds the seconds of one repeat, by metric and arm; from it follow
    `repeats` and `parts` of a sample, by metric.

    `not_run` says why there is nothing; `in_force` what showed beforehand that the condition holds, `not_in_force` what
    showed afterwards that it did not. `finished` means that there is nothing left to do: each arm did all rounds or has
    ended early.
    """

    condition: Condition
    arms: list[ArmResult]
    repeats: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    calibration: dict[str, dict[str, float]] = field(default_factory=dict)
    in_force: str = ""
    not_in_force: str | None = None
    not_run: str | None = None
    finished: bool = False

    @property
    def complete(self) -> bool:
        """Every arm did every round."""
        return self.finished and all(arm.ended is None for arm in self.arms)

    @property
    def baseline(self) -> ArmResult:
        """The first arm, which the others are compared with."""
        return self.arms[0]

    @property
    def noise(self) -> ArmResult | None:
        """The arm that repeats the first one, if there is one."""
        return next((arm for arm in self.arms if arm.is_noise), None)

    @property
    def has_samples(self) -> bool:
        """Whether anything was measured here."""
        return any(arm.samples for arm in self.arms)


@dataclass
class Results:
    """An experiment under way or done. `spent` holds seconds by what they were spent on (see `runner`)."""

    experiment: Experiment
    cells: list[CellResult]
    started: str
    facts: dict[str, Any] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False

    @classmethod
    def empty(cls, experiment: Experiment, started: str, facts: Mapping[str, Any]) -> Results:
        """Before anything is measured."""
        cells = [
            CellResult(condition, [ArmResult(arm) for arm in experiment.arms_under(condition)])
            for condition in experiment.conditions
        ]
        return cls(experiment, cells, started, dict(facts))

    @property
    def complete(self) -> bool:
        """Every arm did every round in every cell that could be run."""
        return all(cell.complete or cell.not_run for cell in self.cells)

    @property
    def has_samples(self) -> bool:
        """Whether anything was measured."""
        return any(cell.has_samples for cell in self.cells)
