"""The thread budget: how many CPUs this process may really use, and why.

More compute threads than that do not merely gain nothing: at a barrier all wait for the one that has no CPU. Only
files of Linux are read (/proc, /sys); whatever is missing or garbled counts as "no limit known".
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ["Budget", "cpu_groups", "thread_budget"]

# Of the fastest core's capacity. ARM chips may have three kinds of cores: the middle ones are worth their wait at a
# barrier, the little ones (0.4 of the fastest on an RK3588) are not.
PERFORMANCE_SHARE = 0.5
# The most CPUs that a Linux kernel can be built for is 8192; a larger number is garbage.
MAX_CPU = 1 << 16
# Microseconds; the kernel's own default, for a cpu.max that names a quota alone.
DEFAULT_PERIOD = 100_000


@dataclass(frozen=True)
class Budget:
    """How many compute threads this process can keep running at once."""

    budget: int
    """Threads, at least 1."""
    reasons: tuple[str, ...]
    """How it came about: one short sentence for each limit that was found."""
    cpus: tuple[int, ...]
    """One logical CPU for each core that counts, ascending. With a quota there may be more of them than `budget`."""
    quota: float | None
    """CPUs' worth of time that the cgroups allow; None without a limit."""


def thread_budget(root: str | os.PathLike[str] = "/", affinity: Collection[int] | None = None) -> Budget:
    """Counts the CPUs that this process may use: affinity mask, SMT siblings, kinds of cores, cgroup quota.

    Args:
        root: where /proc and /sys are; another folder for a recorded machine.
        affinity: logical CPUs that the process may run on; by default the mask of this process.
    """
    base = Path(root)
    mask = sorted(set(_affinity() if affinity is None else affinity)) or [0]
    online = _cpu_list(_read(base / "sys/devices/system/cpu/online"))
    reasons = [
        f"the affinity mask (taskset, cpuset) allows {len(mask)} of {len(online)} CPUs"
        if online.difference(mask)
        else f"{_count(len(mask), 'CPU')} online"
    ]
    cores = _cores(base, mask)
    if len(cores) < len(mask):
        reasons.append(f"they are {_count(len(cores), 'physical core')}: SMT siblings share one, and count once")
    cpus = _performance(base, cores)
    if len(cpus) < len(cores):
        reasons.append(
            f"{len(cpus)} of the {len(cores)} are performance cores: they would wait for the "
            f"{_count(len(cores) - len(cpus), 'efficiency core')} at every barrier"
        )
    limit = min(_limits(base), default=None)
    if limit is None:
        return Budget(len(cpus), tuple(reasons), tuple(cpus), None)
    quota, file = limit
    allowed = max(1, math.floor(quota))
    change = "" if quota == allowed else f", rounded {'down' if quota > allowed else 'up'} to {allowed}"
    plural = "CPU" if quota == 1 else "CPUs"
    reasons.append(f"cgroup quota of {quota:.4g} {plural} (/{file.relative_to(base).as_posix()}){change}")
    return Budget(min(allowed, len(cpus)), tuple(reasons), tuple(cpus), quota)


def _affinity() -> Collection[int]:
    # Other systems have no mask to ask for.
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _cores(root: Path, mask: list[int]) -> list[int]:
    """The first logical CPU of every physical core inside the mask."""
    first: dict[object, int] = {}
    for cpu in mask:
        first.setdefault(_core(root / f"sys/devices/system/cpu/cpu{cpu}/topology", cpu), cpu)
    return list(first.values())


def _core(topology: Path, cpu: int) -> object:
    """What the siblings on one core have in common; a CPU about which nothing is known is a core of its own."""
    for name in ("core_cpus_list", "thread_siblings_list"):  # the newer name (Linux 5.3) and the older one
        siblings = _cpu_list(_read(topology / name))
        if cpu in siblings:
            return frozenset(siblings)
    place = [_read(topology / name) for name in ("physical_package_id", "die_id", "core_id")]
    return tuple(place) if place[-1] else cpu


def _performance(root: Path, cores: list[int]) -> list[int]:
    """Those of the cores that are performance cores; all of them if they are of one kind."""
    fast = _cpu_list(_read(root / "sys/devices/cpu_core/cpus"))  # Intel, where it has two kinds
    capacities = {cpu: _number(_read(root / f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity")) for cpu in cores}  # ARM
    known = {cpu: value for cpu, value in capacities.items() if value is not None and value > 0}
    if not fast and len(known) == len(cores):
        fast = {cpu for cpu, value in known.items() if value >= PERFORMANCE_SHARE * max(known.values())}
    return [cpu for cpu in cores if cpu in fast] or cores


def _limits(root: Path) -> Iterator[tuple[float, Path]]:
    """Every quota above this process, in CPUs, with the file that says so."""
    for version, top, group in cpu_groups(root):
        for folder in (group, *group.parents):
            file = folder / ("cpu.max" if version == 2 else "cpu.cfs_quota_us")
            words = _read(file).split()
            if version == 1:
                words.append(_read(folder / "cpu.cfs_period_us"))
            quota = _number(words[0]) if words else None  # "max" and -1: no limit
            period = (_number(words[1]) if len(words) > 1 else None) or DEFAULT_PERIOD
            if quota is not None and quota > 0 and period > 0:
                yield quota / period, file
            if folder == top:
                break


def cpu_groups(root: Path) -> Iterator[tuple[int, Path, Path]]:
    """The cgroups of this process that may have a CPU quota: version, mount point, folder at or below it."""
    mounts = list(_mounts(root))
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        version = 2 if number == "0" and not controllers else 1
        tops = [(source, point) for kind, source, point in mounts if kind == version]
        # In a container the mount may show a lower part of the tree, and the path may be told from another root.
        inside = [(point, below) for source, point in tops if (below := _below(path, source)) is not None]
        if inside:
            point, below = min(inside, key=lambda one: len(one[1]))
        elif tops:
            point, below = tops[0][1], ""
        else:
            point, below = ("/sys/fs/cgroup" if version == 2 else f"/sys/fs/cgroup/{controllers}"), path
        top = root / point.lstrip("/")
        yield version, top, top.joinpath(*filter(None, below.split("/")))


def _mounts(root: Path) -> Iterator[tuple[int, str, str]]:
    """Mounted cgroup trees that control the CPU: version, the cgroup that is mounted, and where (proc(5))."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        place, kind = left.split(" "), right.split(" ")
        if len(place) < 5 or not kind[0].startswith("cgroup"):
            continue
        point = place[4].replace("\\040", " ")
        if kind[0] == "cgroup2":
            yield 2, place[3], point
        elif "cpu" in kind[-1].split(","):
            yield 1, place[3], point


def _below(path: str, source: str) -> str | None:
    """The rest of a cgroup's path below the cgroup that is mounted; None if it is not below it."""
    if ".." in path.split("/"):
        return None
    if source == "/":
        return path
    return path[len(source) :] if path == source or path.startswith(f"{source}/") else None


def _cpu_list(text: str) -> set[int]:
    """``0-3,8`` as a set; empty if it is not such a list."""
    cpus: set[int] = set()
    try:
        for part in text.split(","):
            low, _, high = part.partition("-")
            cpus.update(range(int(low), min(int(high or low), MAX_CPU) + 1))
    except ValueError:
        return set()
    return cpus


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except (OSError, ValueError):  # ValueError: a NUL in a garbled path
        return ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
