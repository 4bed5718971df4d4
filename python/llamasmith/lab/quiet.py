"""Quietness: while one arm measures, the processes of the others must not use the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .process import Worker

__all__ = ["cpu_of", "disturbers", "wait_until_quiet"]

# Long enough for the kernel's clock tick (up to 10 ms) to charge a thread that polls.
_WINDOW_SECONDS = 0.03
_LIMIT_SECONDS = 2.0

# Of the time looked at. Answering a request costs less, one polling thread costs ten times as much.
_TOLERATED_SHARE = 0.1
_TOLERATED_SHARE_OF_SAMPLE = 0.02
_TOLERATED_SECONDS = 0.005


def cpu_of(workers: Mapping[str, Worker]) -> dict[str, float]:
    """CPU seconds used so far, by arm."""
    return {name: worker.cpu_seconds() for name, worker in workers.items()}


def wait_until_quiet(
    workers: Mapping[str, Worker], *, clock: Callable[[], float], sleep: Callable[[float], None]
) -> tuple[bool, float]:
    """Waits until no worker uses the CPU; returns whether that came about, and the seconds it took.

    After a graph, llama.cpp's own pool polls for the next one for about 100 ms before it sleeps.
    """
    begin = clock()
    while True:
        before, looked_at = sum(cpu_of(workers).values()), clock()
        sleep(_WINDOW_SECONDS)
        used, now = sum(cpu_of(workers).values()) - before, clock()
        if used <= _TOLERATED_SHARE * (now - looked_at):
            return True, now - begin
        if now - begin >= _LIMIT_SECONDS:
            return False, now - begin


def disturbers(before: Mapping[str, float], after: Mapping[str, float], seconds: float, measured: str) -> Sequence[str]:
    """The arms but `measured` that used the CPU between two looks, `seconds` apart."""
    tolerated = max(_TOLERATED_SECONDS, _TOLERATED_SHARE_OF_SAMPLE * seconds)
    return [name for name in before if name != measured and after[name] - before[name] > tolerated]
