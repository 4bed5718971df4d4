"""A CPU quota for the arms, by a cgroup of its own."""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InvalidOption
from ..process import cpu_seconds_of
from .busy import start_busy
from .cgroup import CpuGroup, find_cpu_group
from .errors import ConditionNotMet

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Quota", "Throttling", "own_throttling"]

_PERIOD_MICROSECONDS = 100_000  # the kernel's own default
_PROBE_SECONDS = 0.5
_TRIES = 3
_TOLERATED = 1.3  # times the quota: the probe is short, and a period's share may be used at once
_HOW = (
    "Run as root, or in a cgroup that is yours: systemd-run --user --scope -p Delegate=yes llamasmith ..., with the "
    "controller cpu."
)


@dataclass(frozen=True)
class Throttling:
    """A cgroup's counters: `periods` in which somebody ran, those `throttled`, and the time threads were stopped."""

    periods: int
    throttled: int
    throttled_seconds: float


class Quota:
    """A cgroup that may use `cpus` CPUs, from entering to leaving a ``with`` block. Raises InvalidOption."""

    def __init__(self, cpus: float, *, root: Path = Path("/")) -> None:
        if not cpus >= 0.01:
            raise InvalidOption(f"The quota is {cpus}; it is a number of CPUs from 0.01, such as 1 or 1.5.")
        self._cpus = cpus
        self._root = root
        self._parent: CpuGroup | None = None
        self._group: CpuGroup | None = None

    def __enter__(self) -> Quota:
        parent = find_cpu_group(self._root)
        if parent is None:
            raise ConditionNotMet(f"No cgroup with the controller cpu is to be seen here. {_HOW}")
        folder = parent.folder / f"llamasmith-{os.getpid()}"
        try:
            if parent.version == 2:
                self._enable_cpu(parent)
            folder.mkdir()
            self._parent, self._group = parent, CpuGroup(parent.version, folder)
            self._limit(self._group)
        except OSError as error:
            self.close()
            raise ConditionNotMet(
                f"No quota can be set in {parent.folder}: {error.strerror or error}. {_HOW}"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _enable_cpu(self, parent: CpuGroup) -> None:
        control = parent.folder / "cgroup.subtree_control"
        if "cpu" not in control.read_text(encoding="utf-8").split():
            control.write_text("+cpu", encoding="utf-8")

    def _limit(self, group: CpuGroup) -> None:
        quota = round(self._cpus * _PERIOD_MICROSECONDS)
        if group.version == 2:
            (group.folder / "cpu.max").write_text(f"{quota} {_PERIOD_MICROSECONDS}", encoding="utf-8")
        else:
            (group.folder / "cpu.cfs_period_us").write_text(str(_PERIOD_MICROSECONDS), encoding="utf-8")
            (group.folder / "cpu.cfs_quota_us").write_text(str(quota), encoding="utf-8")

    def add(self, pid: int) -> None:
        """Puts a process with all its threads under the quota."""
        assert self._group is not None
        try:
            (self._group.folder / "cgroup.procs").write_text(str(pid), encoding="utf-8")
        except OSError as error:
            raise ConditionNotMet(
                f"Process {pid} cannot be put into {self._group.folder}: {error.strerror or error}. {_HOW}"
            ) from error

    def throttling(self) -> Throttling:
        """What the quota has done so far."""
        assert self._group is not None
        found = _throttling(self._group)
        if found is None:
            raise ConditionNotMet(f"{self._group.folder / 'cpu.stat'} does not tell whether the quota throttles.")
        return found

    def verify(self) -> str:
        """Lets more processes than the quota allows be busy for half a second; says what came out.

        Tries again where other programs have left them too little. Raises ConditionNotMet where the quota did not
        throttle them.
        """
        for _ in range(_TRIES):
            n_processes, share, throttled = self._probe()
            if throttled > 0 and share <= _TOLERATED * self._cpus:
                return f"{n_processes} busy processes got {share:.2f} CPUs, stopped in {throttled} periods"
        raise ConditionNotMet(
            f"The quota of {self._cpus:g} CPUs does not throttle: {n_processes} busy processes got {share:.2f} CPUs "
            f"and were stopped in {throttled} periods. Is it larger than the machine, or do others use the CPUs?"
        )

    def _probe(self) -> tuple[int, float, int]:
        """How many processes were busy, the CPUs that they got together, the periods in which they were stopped."""
        before, processes = self.throttling(), []
        try:
            for _ in range(math.ceil(self._cpus) + 1):
                processes.append(start_busy())
                self.add(processes[-1].pid)
            used, begin = sum(cpu_seconds_of(p.pid) for p in processes), time.monotonic()
            time.sleep(_PROBE_SECONDS)
            share = (sum(cpu_seconds_of(p.pid) for p in processes) - used) / (time.monotonic() - begin)
        finally:
            for process in processes:
                process.kill()
                process.communicate()
        return len(processes), share, self.throttling().throttled - before.throttled

    def close(self) -> None:
        """Takes the group away; what still runs in it goes back to the group it came from."""
        if self._group is None or self._parent is None:
            return
        for _ in range(50):
            with contextlib.suppress(OSError):
                for pid in (self._group.folder / "cgroup.procs").read_text(encoding="utf-8").split():
                    (self._parent.folder / "cgroup.procs").write_text(pid, encoding="utf-8")
            try:
                self._group.folder.rmdir()
                break
            except FileNotFoundError:
                break
            except OSError:  # processes that have just ended are still being counted
                time.sleep(0.02)
        self._group = self._parent = None


def own_throttling(root: Path = Path("/")) -> Throttling | None:
    """The counters of the group that this process lives in; None where there are none."""
    group = find_cpu_group(root)
    return None if group is None else _throttling(group)


def _throttling(group: CpuGroup) -> Throttling | None:
    try:
        lines = (group.folder / "cpu.stat").read_text(encoding="utf-8").splitlines()
        values = {name: int(value) for name, value in (line.split() for line in lines if line.strip())}
        seconds = values["throttled_usec"] / 1e6 if "throttled_usec" in values else values["throttled_time"] / 1e9
        return Throttling(values["nr_periods"], values["nr_throttled"], seconds)
    except (OSError, KeyError, ValueError):
        return None
