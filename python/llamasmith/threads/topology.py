"""What the CPUs of this machine have in common: a core, a kind of core, a NUMA node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .files import cpu_list, finite, read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Node", "by_node", "cores_of", "performance_cores"]

# Of the fastest core's capacity. ARM chips may have three kinds of cores: the middle ones are worth their wait at a
# barrier, the little ones (0.4 of the fastest on an RK3588) are not.
PERFORMANCE_SHARE = 0.5


@dataclass(frozen=True)
class Node:
    """A NUMA node: CPUs with memory of their own, which the others reach more slowly."""

    number: int
    """As Linux and ``numactl`` count them."""
    cpus: tuple[int, ...]
    """Logical CPUs, ascending."""


def cores_of(root: Path, mask: Sequence[int]) -> list[int]:
    """The first logical CPU of every physical core inside the mask."""
    first: dict[object, int] = {}
    for cpu in mask:
        first.setdefault(_core(root / f"sys/devices/system/cpu/cpu{cpu}/topology", cpu), cpu)
    return list(first.values())


def _core(topology: Path, cpu: int) -> object:
    """What the siblings on one core have in common; a CPU about which nothing is known is a core of its own."""
    for name in ("core_cpus_list", "thread_siblings_list"):  # the newer name (Linux 5.3) and the older one
        siblings = cpu_list(read(topology / name))
        if cpu in siblings:
            return frozenset(siblings)
    place = [read(topology / name) for name in ("physical_package_id", "die_id", "core_id")]
    return tuple(place) if place[-1] else cpu


def performance_cores(root: Path, cores: list[int]) -> list[int]:
    """Those of the cores that are performance cores; all of them if they are of one kind."""
    fast = cpu_list(read(root / "sys/devices/cpu_core/cpus"))  # Intel, where it has two kinds
    capacities = {cpu: finite(read(root / f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity")) for cpu in cores}  # ARM
    known = {cpu: value for cpu, value in capacities.items() if value is not None and value > 0}
    if not fast and len(known) == len(cores):
        fast = {cpu for cpu, value in known.items() if value >= PERFORMANCE_SHARE * max(known.values())}
    return [cpu for cpu in cores if cpu in fast] or cores


def by_node(root: Path, cpus: Sequence[int]) -> list[Node]:
    """The NUMA nodes of these CPUs, the one with most of them first; a CPU of which no node is known is in none."""
    left = set(cpus)
    nodes = []
    for node, folder in sorted(_node_folders(root / "sys/devices/system/node")):
        # A node of memory alone has no CPUs. Where garbled files give a CPU to two nodes, the first one has it.
        here = left & cpu_list(read(folder / "cpulist"))
        left -= here
        if here:
            nodes.append(Node(node, tuple(sorted(here))))
    # With the largest first, any number of threads takes as few nodes as can be. Nodes of one socket have numbers one
    # after the other, so equals stay in that order.
    return sorted(nodes, key=lambda node: (-len(node.cpus), node.number))


def _node_folders(parent: Path) -> list[tuple[int, Path]]:
    try:
        names = [entry.name for entry in parent.iterdir()]
    except OSError:
        return []
    digits = {name: name.removeprefix("node") for name in names if name.startswith("node")}
    return [(int(text), parent / name) for name, text in digits.items() if text.isdecimal() and text.isascii()]
