"""The engines of this build against each other."""

from __future__ import annotations

from .definition import Definition, Here

__all__ = ["EXPERIMENT"]


def _arms(here: Here) -> list[str]:
    first = here.existing("upstream-openmp", "upstream")
    return [*first, *(engine for engine in here.engines if engine not in first)]


EXPERIMENT = Definition(
    name="engines",
    question="Which engine of this build is the fastest here?",
    arms=_arms,
    metrics=("pp128", "tg64", "ttft128"),
    needs=lambda here: None if len(here.engines) > 1 else "this build has one engine only; build several.",
)
