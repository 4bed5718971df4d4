"""How many CPUs this process may really use, which ones first, and why.

More compute threads than that do not merely gain nothing: at a barrier all wait for the one that has no CPU. Only
files of Linux are read (/proc, /sys); whatever is missing or garbled counts as "no limit known".
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .cgroup import cpu_limits
from .files import cpu_list, read
from .topology import Node, by_node, cores_of, performance_cores

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["Budget", "thread_budget"]


@dataclass(frozen=True)
class Budget:
    """How many compute threads this process can keep running at once, and where."""

    budget: int
    """Threads, at least 1."""
    reasons: tuple[str, ...]
    """How it came about: one short sentence for each limit that was found."""
    cpus: tuple[int, ...]
    """One logical CPU for each core that counts; with a quota there may be more of them than `budget`. The first ones,
    however many, lie on as few NUMA nodes as can be."""
    quota: float | None
    """CPUs' worth of time that the cgroups allow; None without a limit."""
    nodes: tuple[Node, ...] = ()
    """The NUMA nodes of `cpus`, in the same order; empty where the machine tells of none."""
    most: int = 0
    """Threads that can run at once at all: with SMT siblings and efficiency cores, but within the quota. However many
    threads a pool has, under the wait policy ``adaptive`` no more than these work."""


def thread_budget(root: str | os.PathLike[str] = "/", affinity: Collection[int] | None = None) -> Budget:
    """Counts the CPUs that this process may use: affinity mask, SMT siblings, kinds of cores, cgroup quota.

    The cores of all NUMA nodes count. Whether those of one node would be faster depends on the model and on where its
    pages lie. Where fewer threads run, by a quota or by choice, the first of `Budget.cpus` keep them together; but none
    is bound to them unless a `ThreadPool` is asked to, for processes that all choose so would crowd the same node.

    Args:
        root: where /proc and /sys are; another folder for a recorded machine.
        affinity: logical CPUs that the process may run on; by default the mask of this process.
    """
    base = Path(root)
    mask = sorted(set(_affinity() if affinity is None else affinity)) or [0]
    online = cpu_list(read(base / "sys/devices/system/cpu/online"))
    reasons = [
        f"the affinity mask (taskset, cpuset) allows {len(mask)} of {len(online)} CPUs"
        if online.difference(mask)
        else f"{_count(len(mask), 'CPU')} online"
    ]
    cores = cores_of(base, mask)
    if len(cores) < len(mask):
        reasons.append(f"they are {_count(len(cores), 'physical core')}: SMT siblings share one, and count once")
    fast = performance_cores(base, cores)
    if len(fast) < len(cores):
        reasons.append(
            f"{len(fast)} of the {len(cores)} are performance cores: they would wait for the "
            f"{_count(len(cores) - len(fast), 'efficiency core')} at every barrier"
        )
    nodes = tuple(by_node(base, fast))
    known = [cpu for node in nodes for cpu in node.cpus]
    cpus = (*known, *sorted(set(fast).difference(known)))
    limit = min(cpu_limits(base), default=None)
    allowed, quota, most = len(cpus), None, len(mask)
    if limit is not None:
        quota, file = limit
        whole = max(1, math.floor(quota))
        allowed, most = min(whole, len(cpus)), min(whole, len(mask))
        change = "" if quota == whole else f", rounded {'down' if quota > whole else 'up'} to {whole}"
        plural = "CPU" if quota == 1 else "CPUs"
        reasons.append(f"cgroup quota of {quota:.4g} {plural} (/{file.relative_to(base).as_posix()}){change}")
    if len(nodes) > 1:
        reasons.append(_about_nodes(nodes, allowed))
    return Budget(allowed, tuple(reasons), cpus, quota, nodes, most)


def _affinity() -> Collection[int]:
    # Other systems have no mask to ask for.
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _about_nodes(nodes: Sequence[Node], n_threads: int) -> str:
    used, left = 0, n_threads
    while left > 0 and used < len(nodes):
        left -= len(nodes[used].cpus)
        used += 1
    if used == len(nodes):
        return f"the cores are on {len(nodes)} NUMA nodes, and it takes all of them"
    where = ", ".join(str(node.number) for node in nodes[:used])
    fit = "thread fits" if n_threads == 1 else "threads fit"
    return f"{n_threads} {fit} on {'node' if used == 1 else 'nodes'} {where} of {len(nodes)} NUMA nodes"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
