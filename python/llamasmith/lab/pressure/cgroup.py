"""The cgroup of this process that limits CPU time, in the first or the second version of the interface."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...threads import cpu_groups

__all__ = ["CpuGroup", "find_cpu_group"]


@dataclass(frozen=True)
class CpuGroup:
    """A cgroup: its folder, and which `version` of the interface its files follow."""

    version: int
    folder: Path


def find_cpu_group(root: Path = Path("/")) -> CpuGroup | None:
    """The group that this process's CPU time is charged to; None where there is none to be seen.

    Where both versions are mounted, the controller is in one of them only, and the first one is asked by its name.
    `root` is another folder for a recorded machine.
    """
    for version, _, folder in sorted(cpu_groups(root)):
        if folder.is_dir() and (version == 1 or (folder / "cgroup.procs").exists()):
            return CpuGroup(version, folder)
    return None
