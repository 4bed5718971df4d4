"""The roofline: how fast this machine reads memory, measured once, when nothing else runs, and remembered."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["roofline"]

_CODE = "import sys; from llamasmith.bandwidth import read_bandwidth; print(read_bandwidth(int(sys.argv[1])))"
_LIMIT_SECONDS = 60
_QUIET_CPUS = 0.2  # used by all other programs together
_KEYS = ("cpu_model", "cpus_logical", "memory_bytes", "kernel", "cgroup_quota_cpus", "affinity")


def roofline(
    machine: Mapping[str, Any], n_threads: int, folder: Path, measure: Callable[[int], float] | None = None
) -> dict[str, Any] | None:
    """``gigabytes_per_second`` and ``n_threads``, from a file in `folder` if this machine was measured before.

    None if it cannot be measured here.
    """
    file = folder / "roofline.json"
    same = {name: machine.get(name) for name in _KEYS} | {"n_threads": n_threads}
    known = _read(file)
    before = next((entry for entry in known if entry["machine"] == same), None)
    if before is None or not before["quiet"]:
        try:
            speed = (measure or _measure)(n_threads) / 1e9
        except (OSError, ValueError, subprocess.SubprocessError):
            return None
        # What else runs can only make it slower: the best that was ever seen is nearest to the truth.
        best = max(speed, before["gigabytes_per_second"]) if before else speed
        quiet = (machine.get("busy_cpus") or 0.0) <= _QUIET_CPUS
        known = [entry for entry in known if entry["machine"] != same]
        known.append(before := {"machine": same, "gigabytes_per_second": best, "quiet": quiet})
        with contextlib.suppress(OSError):  # a cache that cannot be written costs some seconds next time
            folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(known), encoding="utf-8")
    return {"gigabytes_per_second": before["gigabytes_per_second"], "n_threads": n_threads}


def _measure(n_threads: int) -> float:
    """In a process of its own: this one loads no compiled code."""
    command = [sys.executable, "-c", _CODE, str(n_threads)]
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}  # not from the folder that we happen to stand in
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_LIMIT_SECONDS, env=environment)
    return float(done.stdout)


def _read(file: Path) -> list[dict[str, Any]]:
    """What is remembered; nothing, where the file is not as we write it."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        return [entry for entry in known if {"machine", "gigabytes_per_second", "quiet"} <= entry.keys()]
    except (OSError, ValueError, TypeError, AttributeError):
        return []
