"""Puts a condition in force while a cell runs, and shows that it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

from ..threads import thread_budget
from .condition import Condition
from .pressure import ConditionNotMet, Neighbours, Quota, Throttling, own_throttling

if TYPE_CHECKING:
    from .results import CellResult

__all__ = ["ConditionNotMet", "Create", "Surroundings", "check_afterwards", "create"]

# Of the time that the slowest session needs, on average over the sessions.
_LEAST_OVERLAP = 0.5


class Surroundings(Protocol):
    """What the runner needs of a condition in force; tests have their own."""

    def admit(self, pid: int) -> None:
        """A worker joins: from here on the condition holds for it as well."""

    def start(self) -> str:
        """Starts what weighs on the machine; returns what shows that it is in force. Raises ConditionNotMet."""

    def throttled_seconds(self) -> float | None:
        """How long a quota has stopped the arms so far; None where none is known."""


Create = Callable[[Condition], AbstractContextManager["Surroundings"]]


class _Real:
    def __init__(self, condition: Condition, stack: ExitStack) -> None:
        self._condition = condition
        self._stack = stack
        self._quota = None if condition.quota is None else stack.enter_context(Quota(condition.quota))
        # Before anything is loaded under it: a quota that is not in force costs a second, not a cell.
        self._quota_seen = "" if self._quota is None else f"a probe in the cgroup: {self._quota.verify()}"

    def admit(self, pid: int) -> None:
        if self._quota is not None:
            self._quota.add(pid)

    def start(self) -> str:
        seen = [self._quota_seen] if self._quota_seen else []
        if self._condition.neighbours:
            condition = self._condition
            neighbours = self._stack.enter_context(
                Neighbours(condition.neighbours, nice=condition.nice, every=condition.every)
            )
            seen.append(f"neighbours got {neighbours.verify():.2f} CPUs")
        if self._condition.oversubscribe > 1:
            seen.append(f"threads are {self._condition.oversubscribe} times the default")
        return "; ".join(seen)

    def throttled_seconds(self) -> float | None:
        found: Throttling | None = own_throttling() if self._quota is None else self._quota.throttling()
        return None if found is None else found.throttled_seconds


@contextmanager
def create(condition: Condition) -> Iterator[Surroundings]:
    """Makes what `condition` needs and takes it away again. Raises ConditionNotMet."""
    with ExitStack() as stack:
        yield _Real(condition, stack)


def check_afterwards(cell: CellResult, budget: int | None = None) -> str | None:
    """Why the condition did not hold during the samples, as far as only they can show it; None if it did."""
    samples = [sample for arm in cell.arms for sample in arm.samples if not sample.warmup]
    if cell.condition.sessions > 1:
        overlaps = [sample.overlap for sample in samples if sample.overlap is not None]
        if not overlaps or sum(overlaps) / len(overlaps) < _LEAST_OVERLAP:
            return "The sessions did not work at the same time."
    if cell.condition.oversubscribe > 1:
        cpus = thread_budget().budget if budget is None else budget
        threads = [arm.arm.settings.get("n_threads") for arm in cell.arms]
        if not any(isinstance(n, int) and n > cpus for n in threads):
            return f"No arm has more threads than the {cpus} CPUs: all name their own number."
    if cell.condition.quota is not None and not any(sample.throttled_seconds for sample in samples):
        return f"The quota of {cell.condition.quota:g} CPUs has never stopped an arm: they need less."
    return None
