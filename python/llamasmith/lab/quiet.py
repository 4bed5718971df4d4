"""Quietness: while one arm measures, the processes of the others are stopped, and must not have used the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .process import Worker

__all__ = ["cpu_of", "disturbers"]

# A stopped process uses none; a child that it has left behind does.
_TOLERATED_SHARE = 0.02
_TOLERATED_SECONDS = 0.005


def cpu_of(workers: Mapping[str, Worker]) -> dict[str, float]:
    """CPU seconds used so far, by arm."""
    return {name: worker.cpu_seconds() for name, worker in workers.items()}


def disturbers(before: Mapping[str, float], after: Mapping[str, float], seconds: float, measured: str) -> Sequence[str]:
    """The arms but `measured` that used the CPU between two looks, `seconds` apart."""
    tolerated = max(_TOLERATED_SECONDS, _TOLERATED_SHARE * seconds)
    return [name for name in before if name != measured and after[name] - before[name] > tolerated]
