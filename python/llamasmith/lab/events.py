"""What the runner tells while it works."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ArmEnded", "CellNotRun", "Event", "Progress"]


@dataclass(frozen=True)
class Progress:
    """A step was done. `stage` is ``start``, ``outputs``, ``calibrate``, ``measure``, ``idle`` or ``quality``.

    `done` of `total` steps of it; those of ``measure`` count over all cells. `value` is what was measured, in the
    metric's unit; `seconds_left` the time until the last round ends.
    """

    stage: str
    done: int
    total: int
    arm: str
    condition: str
    metric: str | None = None
    value: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class ArmEnded:
    """An arm ended before its last round; the others go on."""

    arm: str
    reason: str


@dataclass(frozen=True)
class CellNotRun:
    """A condition could not be created, or was not in force."""

    condition: str
    reason: str


Event = Progress | ArmEnded | CellNotRun
