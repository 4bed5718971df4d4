"""Thread pools: the threads that compute, and how they wait for each other."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, SupportsIndex

from ._check import integer, one_of
from ._closing import Closing
from ._native import _core
from .engine import load_engine
from .errors import ForkedProcess, InvalidOption
from .placement import check_urgency, counted, cpu_ids, cpu_text, one_each
from .threads import Budget, thread_budget

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PoolCounters", "ThreadPool", "thread_count", "warn_of_too_many"]

# ggml's own limit (GGML_MAX_N_THREADS).
MAX_THREADS = 512
DEFAULT_POLL = 50  # upstream's
_LEAVE_IT_OUT = "; leave it out for what this process may use"
_log = logging.getLogger(__name__)
_warned: set[tuple[int, int]] = set()


def thread_count(n_threads: int | None, name: str = "n_threads") -> int:
    """`n_threads`, by default the thread budget. Raises InvalidOption, which calls it by `name`."""
    if n_threads is None:
        return thread_budget().budget
    return integer(name, n_threads, 1, MAX_THREADS, _LEAVE_IT_OUT)


def warn_of_too_many(n_threads: int, budget: Budget, hint: str = "", *, adaptive: bool = False) -> None:
    """Logs a warning if that is more than the budget, once for each number in this process."""
    if n_threads <= budget.budget or (n_threads, budget.budget) in _warned:
        return
    _warned.add((n_threads, budget.budget))
    _log.warning(
        "%d threads on %s (%s): %s. Use at most %d%s.",
        n_threads,
        counted(budget.budget, "CPU"),
        "; ".join(budget.reasons),
        f"no more than {budget.most} of them will work at once"
        if adaptive
        else "at every barrier all wait for the one that has none",
        budget.budget,
        hint,
    )


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
    """Nanoseconds spent waiting at barriers; under ``adaptive``, without the time asleep."""
    taken: int
    """Pieces of work done for a thread that was late; ``adaptive`` alone."""
    n_active: int
    """Threads, at most, that work on a graph just now; ``adaptive`` alone, else 0."""


class ThreadPool(Closing):
    """Compute threads that stay alive between graphs. Sessions may share one; they then take turns.

    Args:
        n_threads: 1 to 512; by default what this process may really use (`thread_budget()`), of `cpus` where given.
        cpus: logical CPUs that the threads may run on: ints, or a list like ``0-3,8``. By default the system decides.
        priority: ``low`` (gives way to other programs), ``normal``, or real-time ``medium``, ``high``, ``realtime``,
            for which rights are needed, and which keep other programs from running.
        wait: how a thread waits: ``adaptive``, ``spin``, ``yield`` or ``park``; engine ``patched`` only. By default
            the environment's ``LLAMASMITH_WAIT``, else ``adaptive``.
        strict: each thread is bound to a CPU of its own: to the first of `cpus`, by default to those of the budget
            (a core for each, on as few NUMA nodes as can be). Else all threads may run on all of `cpus`.
        poll: how long workers look for the next graph before they sleep: 0 (not at all) to 100, upstream's unit.

    The first of a pool's threads is the one that calls `Session`: it has the pool's CPUs and priority for the length of
    each batch, and its own again between batches.

    In an engine with OpenMP, threads are its runtime's: `wait`, `poll`, `pause()` and `resume()` are refused, and
    they keep the CPUs and the priority of the pool that they have computed for last.

    More threads than the budget are allowed, and logged as a warning, once for each number. Raises InvalidOption, or
    NotEnoughMemory where the system gives no more threads.
    """

    def __init__(
        self,
        n_threads: int | None = None,
        *,
        cpus: str | Iterable[SupportsIndex] | None = None,
        priority: str = "normal",
        wait: str | None = None,
        strict: bool = False,
        poll: int = 50,
    ) -> None:
        engine = load_engine()
        ids = None if cpus is None else cpu_ids(cpus)
        budget = thread_budget() if ids is None else thread_budget(affinity=ids)
        count = budget.budget if n_threads is None else thread_count(n_threads)
        if strict is not True and strict is not False:
            raise InvalidOption(f"strict is {strict!r}. Allowed: True, False.")
        if strict:
            # Left to us, both the number and the CPUs are the budget's, which knows cores from their SMT siblings.
            ids = one_each(count, budget.cpus if n_threads is None or ids is None else ids, ids is not None)
        self._cpus, self._strict = ids, strict
        self._priority = one_of("priority", priority, _core.priorities())
        check_urgency(self._priority, count, ids)
        if integer("poll", poll, 0, 100) != DEFAULT_POLL and engine.openmp:
            raise InvalidOption(
                f"poll={poll} has no effect in the engine {engine.name!r}: OpenMP's threads wait as OMP_WAIT_POLICY "
                f"and GOMP_SPINCOUNT say. Leave poll out."
            )
        self._native = _core.ThreadPool(
            count,
            wait="" if wait is None else one_of("wait", wait, _core.wait_policies()),
            poll=integer("poll", poll, 0, 100),
            cpus=ids or (),
            strict=strict,
            priority=self._priority,
            n_cpus=budget.most,
        )
        self._n_threads = count
        if ids is not None and cpus is not None:
            budget = replace(budget, reasons=(f"cpus names {cpu_text(ids)}", *budget.reasons[1:]))
        hint = ", or wait='adaptive'" if self.wait in {"spin", "yield"} else ""
        warn_of_too_many(count, budget, hint, adaptive=self.wait == "adaptive")

    @property
    def n_threads(self) -> int:
        return self._native.n_threads

    @property
    def cpus(self) -> tuple[int, ...] | None:
        """Logical CPUs that the threads may run on; None where the system decides."""
        return self._cpus

    @property
    def priority(self) -> str:
        return self._priority

    @property
    def strict(self) -> bool:
        """Whether each thread is bound to a CPU of its own."""
        return self._strict

    @property
    def closed(self) -> bool:
        """Whether `close()` was called; sessions that use the pool keep its threads."""
        return self._native.closed

    @property
    def wait(self) -> str | None:
        """The wait policy; may be set at any time. None in engines that have no choice."""
        return self._native.wait or None

    @wait.setter
    def wait(self, name: str) -> None:
        self._native.wait = one_of("wait", name, _core.wait_policies())

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
        if self.closed:
            return "<llamasmith.ThreadPool closed>"
        state = [counted(self._n_threads, "thread")]
        if self._cpus is not None:
            state.append(f"cpus={cpu_text(self._cpus)}{' strict' if self._strict else ''}")
        if self._priority != "normal":
            state.append(f"priority={self._priority}")
        try:
            state.append(f"wait={self.wait}")
        except ForkedProcess:
            state.append("of another process")
        return f"<llamasmith.ThreadPool {', '.join(state)}>"
