"""How much memory this process may still take, and who says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .threads.cgroup import memory_groups
from .threads.files import read

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["HostMemory", "host_memory"]

# For each version of cgroups: files with limits, the file with what is in use, and the field of what can be dropped.
_FILES: dict[int, tuple[tuple[str, ...], str, str]] = {
    1: (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"),
    2: (("memory.max", "memory.high"), "memory.current", "inactive_file"),
}


@dataclass(frozen=True)
class HostMemory:
    """Memory of the machine that a process can have without swapping, in bytes."""

    available: int
    source: str
    """What sets the limit: ``/proc/meminfo``, or the cgroup's file."""


def host_memory(root: Path = Path("/")) -> HostMemory | None:
    """What is available now: by the kernel's count, and by the limits of the cgroups; None where neither says.

    Pages of files count as available, for they can be dropped.
    """
    found = [*_of_the_machine(root), *_of_the_groups(root)]
    return min(found, key=lambda one: one.available) if found else None


def _of_the_machine(root: Path) -> Iterator[HostMemory]:
    for line in read(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()[:1]
        if name == "MemAvailable" and number and number[0].isdecimal():
            yield HostMemory(int(number[0]) * 1024, "/proc/meminfo")


def _of_the_groups(root: Path) -> Iterator[HostMemory]:
    for version, top, group in memory_groups(root):
        limits, usage, droppable = _FILES[version]
        for folder in (group, *group.parents):
            used = max(0, (_number(folder / usage) or 0) - _field(folder / "memory.stat", droppable))
            for name in limits:
                limit = _number(folder / name)  # "max": none
                if limit is not None:
                    yield HostMemory(max(0, limit - used), f"/{(folder / name).relative_to(root)}")
            if folder == top:
                break


def _number(file: Path) -> int | None:
    text = read(file)
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 20 else None


def _field(file: Path, name: str) -> int:
    for line in read(file).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdecimal():
            return int(value)
    return 0
