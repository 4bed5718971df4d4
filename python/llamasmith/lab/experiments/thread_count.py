"""How many threads pay."""

from __future__ import annotations

from .definition import Definition, Here

__all__ = ["EXPERIMENT"]


def _arms(here: Here) -> list[str]:
    counts = {1, here.budget, here.budget * 2, *(2**power for power in range(here.budget.bit_length()))}
    # The default comes first: it is what the others are compared with.
    return [f"{here.engine},t={count}" for count in sorted(counts, key=lambda count: (count != here.budget, count))]


EXPERIMENT = Definition(
    name="thread-count",
    question="How many threads are the fastest here, beside the default?",
    arms=_arms,
    conditions=("idle", "neighbours=1"),
)
