"""What an experiment has found so far: every raw value, warm-up included, in the order in which it was measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .arm import AA_NAME, Arm

if TYPE_CHECKING:
    from .plan import Experiment

__all__ = ["ArmResult", "Results", "Sample"]


@dataclass(frozen=True)
class Sample:
    """One measurement: `tokens` per repeat, and the `seconds` of each repeat.

    `waited_seconds` passed until the other processes were quiet; `quiet` is false if they never were. `disturbed_by`
    names arms that used the CPU during the sample although they had nothing to do.
    """

    metric: str
    round: int
    position: int
    warmup: bool
    tokens: int
    seconds: tuple[float, ...]
    cpu_seconds: float
    waited_seconds: float
    quiet: bool
    disturbed_by: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens * len(self.seconds) / sum(self.seconds)


@dataclass
class ArmResult:
    """One arm and all that it gave. `ended` says why it ended before its last round; None if it did not."""

    arm: Arm
    facts: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] | None = None
    samples: list[Sample] = field(default_factory=list)
    ended: str | None = None

    @property
    def name(self) -> str:
        """The arm's name."""
        return self.arm.name

    @property
    def is_noise(self) -> bool:
        """Whether this is the repetition of the first arm."""
        return self.arm.name == AA_NAME

    def rates(self, metric: str, *, warmup: bool = False) -> list[float]:
        """Tokens per second of the samples that count, or of those that only warmed up."""
        return [sample.rate for sample in self.samples if sample.metric == metric and sample.warmup == warmup]


@dataclass
class Results:
    """An experiment under way or done. `calibration` holds the seconds of one repeat, by metric and arm."""

    experiment: Experiment
    arms: list[ArmResult]
    started: str
    facts: dict[str, Any] = field(default_factory=dict)
    repeats: dict[str, int] = field(default_factory=dict)
    calibration: dict[str, dict[str, float]] = field(default_factory=dict)
    interrupted: bool = False
    complete: bool = False

    @property
    def baseline(self) -> ArmResult:
        """The first arm, which the others are compared with."""
        return self.arms[0]

    @property
    def noise(self) -> ArmResult | None:
        """The arm that repeats the first one, if there is one."""
        return next((arm for arm in self.arms if arm.is_noise), None)
