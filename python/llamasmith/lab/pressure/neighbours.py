"""Busy neighbours: pure-CPU processes beside the arms."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from ..process import cpu_seconds_of
from .busy import start_busy
from .errors import ConditionNotMet

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Neighbours"]

_WATCH_SECONDS = 0.3
_LEAST_SHARE = 0.1  # of what each neighbour could get if nobody else were there
_MOST_OF_HALF = 0.7  # of the time: what one that rests every other while may use at the most


def _set_niceness(pid: int, nice: int) -> None:
    os.setpriority(os.PRIO_PROCESS, pid, nice)


class Neighbours:
    """`n` processes that use one CPU each, from entering to leaving a ``with`` block.

    `nice` is their niceness; with `every` they work and rest for so many seconds in turn, all of them at once.
    """

    def __init__(
        self,
        n: int,
        *,
        nice: int = 0,
        every: float = 0.0,
        start: Callable[[], subprocess.Popen[Any]] | None = None,
        renice: Callable[[int, int], None] = _set_niceness,
        cpu_seconds: Callable[[int], float] = cpu_seconds_of,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._n = n
        self._nice = nice
        self._every = every
        self._start = start or partial(start_busy, every)
        self._renice = renice
        self._cpu_seconds = cpu_seconds
        self._clock = clock
        self._sleep = sleep
        self._processes: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> Neighbours:
        try:
            for _ in range(self._n):
                self._processes.append(self._start())
            if self._nice:
                self._set_nice()
        except OSError as error:
            self.close()
            raise ConditionNotMet(f"{self._n} busy neighbours cannot be started: {error}.") from error
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set_nice(self) -> None:
        try:
            for process in self._processes:
                self._renice(process.pid, self._nice)
        except PermissionError as error:
            raise ConditionNotMet(
                f"Neighbours cannot have the niceness {self._nice}: {error.strerror or error}. Less than 0 takes root, "
                f"CAP_SYS_NICE or a limit that allows it (ulimit -e)."
            ) from error

    def verify(self) -> float:
        """CPUs that all of them got together, for a moment, or for once working and once resting.

        Raises ConditionNotMet where one got next to nothing, or does not rest.
        """
        before, begin = self._used(), self._clock()
        self._sleep(2 * self._every or _WATCH_SECONDS)
        after, seconds = self._used(), self._clock() - begin
        shares = [(later - earlier) / seconds for earlier, later in zip(before, after, strict=True)]
        least = _LEAST_SHARE * min(1.0, (os.cpu_count() or 1) / max(1, self._n)) * (0.5 if self._every else 1.0)
        if min(shares, default=1.0) < least:
            got = ", ".join(f"{share:.2f}" for share in shares)
            raise ConditionNotMet(
                f"{self._n} busy neighbours got {got} CPUs, at least {least:.2f} each were expected: something keeps "
                f"them from running. Use fewer neighbours, or a machine with more CPUs."
            )
        if self._every and max(shares, default=0.0) > _MOST_OF_HALF:
            raise ConditionNotMet(
                f"Neighbours that rest every other {self._every:g} s got {max(shares):.2f} CPUs each: they do not rest."
            )
        return sum(shares)

    def _used(self) -> list[float]:
        try:
            return [self._cpu_seconds(process.pid) for process in self._processes]
        except OSError as error:
            raise ConditionNotMet(f"A busy neighbour has ended by itself: {error}.") from error

    def close(self) -> None:
        """Ends them. May be called again."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._processes.clear()
