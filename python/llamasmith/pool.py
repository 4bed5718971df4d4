"""Thread pools: the threads that compute, and how they wait for each other."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from ._check import integer
from ._closing import Closing
from ._native import _core
from .engine import load_engine
from .errors import InvalidOption
from .threads import thread_budget

__all__ = ["PoolCounters", "ThreadPool", "thread_count"]

# ggml's own limit (GGML_MAX_N_THREADS).
MAX_THREADS = 512
_LEAVE_IT_OUT = "; leave it out for what this process may use"
_log = logging.getLogger(__name__)


def thread_count(n_threads: int | None, name: str = "n_threads") -> int:
    """`n_threads`, by default the thread budget. Raises InvalidOption, which calls it by `name`."""
    if n_threads is None:
        return thread_budget().budget
    return integer(name, n_threads, 1, MAX_THREADS, _LEAVE_IT_OUT)


@dataclass(frozen=True)
class PoolCounters:
    """Sums over a pool's threads since it was made; from the engine ``patched`` alone."""

    barriers: int
    """Barriers passed, counted once for each thread."""
    spins: int
    """Pause instructions, at barriers and between graphs."""
    yields: int
    """``sched_yield`` calls, at barriers and between graphs."""
    parks: int
    """Times that a thread slept in the kernel, at barriers and between graphs."""
    wait_ns: int
    """Nanoseconds spent waiting at barriers."""


class ThreadPool(Closing):
    """Compute threads that stay alive between graphs. Sessions may share one; they then take turns.

    Args:
        n_threads: 1 to 512; by default what this process may really use (`thread_budget()`).
        wait: how a thread waits: ``spin``, ``yield`` or ``park``; engine ``patched`` only. By default the
            environment's ``LLAMASMITH_WAIT``, else ``spin``.
        poll: how long workers look for the next graph before they sleep: 0 (not at all) to 100, upstream's unit.

    More threads than the budget are allowed, and logged as a warning. Raises InvalidOption.
    """

    def __init__(self, n_threads: int | None = None, *, wait: str | None = None, poll: int = 50) -> None:
        load_engine()
        if wait == "":
            raise InvalidOption(f"wait is ''. Allowed: {', '.join(_core.wait_policies())}.")
        budget = thread_budget()
        count = thread_count(n_threads)
        self._native = _core.ThreadPool(
            count,
            wait=wait or "",
            poll=integer("poll", poll, 0, 100),
        )
        if count > budget.budget:
            _log.warning(
                "%d threads on %d CPUs (%s): at every barrier all wait for the one that has none. Use at most %d%s.",
                count,
                budget.budget,
                "; ".join(budget.reasons),
                budget.budget,
                ", or wait='park'" if self.wait == "spin" else "",
            )

    @property
    def n_threads(self) -> int:
        return self._native.n_threads

    @property
    def wait(self) -> str | None:
        """The wait policy; may be set at any time. None in engines that have no choice."""
        return self._native.wait or None

    @wait.setter
    def wait(self, name: str) -> None:
        self._native.wait = name

    def counters(self) -> PoolCounters | None:
        """What waiting has cost so far. None in engines that do not count."""
        values = self._native.counters()
        return None if values is None else PoolCounters(**values)

    def pause(self) -> None:
        """Sends the workers to sleep until `resume()` or the next graph. Engine ``patched`` only."""
        self._native.pause()

    def resume(self) -> None:
        self._native.resume()

    def close(self) -> None:
        """Ends the threads once no session uses them."""
        self._native.close()

    def __repr__(self) -> str:
        state = "closed" if self._native.closed else f"{self.n_threads} threads, wait={self.wait}"
        return f"<llamasmith.ThreadPool {state}>"
