"""Control groups, in both versions of the interface: where the limits are that this process is under."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .files import finite, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["cpu_groups", "cpu_limits", "memory_groups"]

# Microseconds; the kernel's own default, for a cpu.max that names a quota alone.
DEFAULT_PERIOD = 100_000


def cpu_limits(root: Path) -> Iterator[tuple[float, Path]]:
    """Every quota above this process, in CPUs, with the file that says so."""
    for version, top, group in cpu_groups(root):
        for folder in (group, *group.parents):
            file = folder / ("cpu.max" if version == 2 else "cpu.cfs_quota_us")
            words = read(file).split()
            if version == 1:
                words.append(read(folder / "cpu.cfs_period_us"))
            quota = finite(words[0]) if words else None  # "max" and -1: no limit
            period = (finite(words[1]) if len(words) > 1 else None) or DEFAULT_PERIOD
            if quota is not None and quota > 0 and period > 0:
                yield quota / period, file
            if folder == top:
                break


def cpu_groups(root: Path) -> Iterator[tuple[int, Path, Path]]:
    """The cgroups of this process that may have a CPU quota: version, mount point, folder at or below it."""
    return _groups(root, "cpu")


def memory_groups(root: Path) -> Iterator[tuple[int, Path, Path]]:
    """... and those that may have a limit of memory."""
    return _groups(root, "memory")


def _groups(root: Path, controller: str) -> Iterator[tuple[int, Path, Path]]:
    mounts = list(_mounts(root, controller))
    for line in read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
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


def _mounts(root: Path, controller: str) -> Iterator[tuple[int, str, str]]:
    """Mounted cgroup trees with this controller: version, the cgroup that is mounted, and where (proc(5))."""
    for line in read(root / "proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        place, kind = left.split(" "), right.split(" ")
        if len(place) < 5 or not kind[0].startswith("cgroup"):
            continue
        point = place[4].replace("\\040", " ")
        if kind[0] == "cgroup2":
            yield 2, place[3], point
        elif controller in kind[-1].split(","):
            yield 1, place[3], point


def _below(path: str, source: str) -> str | None:
    """The rest of a cgroup's path below the cgroup that is mounted; None if it is not below it."""
    if ".." in path.split("/"):
        return None
    if source == "/":
        return path
    return path[len(source) :] if path == source or path.startswith(f"{source}/") else None
