"""Threads that live, against threads that are made for every graph."""

from __future__ import annotations

from .definition import Definition, Here

__all__ = ["EXPERIMENT"]


def _arms(here: Here) -> list[str]:
    engines = here.existing("upstream", "patched")
    return [f"{engine},disposable_pool={pool}" for engine in engines for pool in ("on", "off")]


EXPERIMENT = Definition(
    name="thread-pool",
    question="Does a pool of threads that lives between graphs pay, against threads made for every graph?",
    arms=_arms,
    needs=lambda here: None if _arms(here) else "neither of the engines upstream and patched was built.",
)
