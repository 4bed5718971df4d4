"""Finds the cgroup of this process that limits CPU time, in the first or the second version of the interface."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["CpuGroup", "find_cpu_group"]


@dataclass(frozen=True)
class CpuGroup:
    """A cgroup: its folder, and which `version` of the interface its files follow."""

    version: int
    folder: Path


def find_cpu_group(root: Path = Path("/")) -> CpuGroup | None:
    """The group that this process's CPU time is charged to; None where there is none to be seen.

    `root` is another folder for a recorded machine.
    """
    own = _own_paths(root)
    for version, controllers, mounted_part, mount in _mounts(root):
        if version == 1 and "cpu" not in controllers:
            continue
        path = own.get("cpu" if version == 1 else "")
        if path is None:
            continue
        inside = path.removeprefix(mounted_part.rstrip("/")) if mounted_part != "/" else path
        folder = root / mount.lstrip("/") / inside.lstrip("/")
        if version == 2 and not (folder / "cgroup.procs").exists():
            continue
        if folder.is_dir():
            return CpuGroup(version, folder)
    return None


def _own_paths(root: Path) -> dict[str, str]:
    """Path of the own group by controller; that of the second version by the empty name."""
    found: dict[str, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        found |= dict.fromkeys(names.split(","), path)
    return found


def _mounts(root: Path) -> list[tuple[int, list[str], str, str]]:
    """Version, controllers, mounted part and mount point of the cgroup file systems; the first version first.

    Where both are mounted, a controller is in one of them only, and the first version is asked by name.
    """
    found = []
    for line in _lines(root / "proc/self/mountinfo"):
        fields, _, rest = line.partition(" - ")
        kind, _, options = ([*rest.split(), "", "", ""])[:3]
        columns = fields.split()
        if kind in ("cgroup", "cgroup2") and len(columns) > 4:
            version = 1 if kind == "cgroup" else 2
            found.append((version, options.split(","), columns[3], columns[4]))
    return sorted(found, key=lambda mount: mount[0])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
