"""Facts about the machine, the model file and the packages, for the record. What cannot be read is None."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..build import build_info
from ..errors import ModelNotFound
from ..hub import cache_folder
from ..huge_pages import chunks, huge_pages
from ..threads import thread_budget
from .extra import need
from .roofline import roofline
from .worker import deciding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["facts", "machine_facts", "model_facts", "package_versions", "read_bandwidth"]

_PACKAGES = ("llamasmith", "numpy", "scipy", "psutil")
_CHUNK_BYTES = 8 << 20
_BUSY_SECONDS = 0.3


def facts(
    model: Path, environment: Mapping[str, str], on_bytes: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Everything known before a worker starts; `on_bytes` follows the hashing of the model file (done, total)."""
    budget = thread_budget()
    return {
        "machine": machine_facts(),
        "build": build_info().asdict(),
        "thread_budget": {"budget": budget.budget, "reasons": list(budget.reasons)},
        "model": model_facts(model, on_bytes),
        "packages": package_versions(),
        "environment": {"cleared": deciding(environment)},
    }


def machine_facts(root: Path = Path("/")) -> dict[str, Any]:
    """CPU, kernel, clock governor, who gets huge pages, affinity, load averages, quota in CPUs, memory in bytes."""
    psutil = need("psutil")
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    frequency = root / "sys/devices/system/cpu/cpu0/cpufreq"
    return {
        "cpu_model": _cpu_model(root) or platform.processor() or None,
        "architecture": platform.machine(),
        "cpus_logical": psutil.cpu_count(logical=True),
        "cpus_physical": psutil.cpu_count(logical=False),
        "kernel": f"{platform.system()} {platform.release()}",
        "governor": _read(frequency / "scaling_governor"),
        "huge_pages": huge_pages(root),
        "affinity": affinity,
        "busy_cpus": _busy_cpus(psutil),
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "cgroup_quota_cpus": thread_budget(root).quota,
        "memory_bytes": psutil.virtual_memory().total,
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "python": platform.python_version(),
    }


def read_bandwidth(machine: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the thread budget's threads can read from memory together: see `roofline`."""
    return roofline(machine, thread_budget().budget, cache_folder())


def model_facts(path: Path, on_bytes: Callable[[int, int], None] = lambda done, total: None) -> dict[str, str | int]:
    """Name (without its folder), size in bytes and SHA-256 of a model file. Raises ModelNotFound."""
    digest, done = hashlib.sha256(), 0
    try:
        total = path.stat().st_size
        with path.open("rb") as file:
            for chunk in chunks(file, _CHUNK_BYTES):
                digest.update(chunk)
                done += len(chunk)
                on_bytes(done, total)
    except OSError as error:
        raise ModelNotFound(f"The model {path} cannot be read: {error.strerror or error}.") from error
    return {"file": path.name, "bytes": total, "sha256": digest.hexdigest()}


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that take part; None for one that is not installed."""

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {name: installed(name) for name in _PACKAGES}


def _busy_cpus(psutil: Any) -> float:
    """How many CPUs all programs use just now; the load average remembers what ended a minute ago."""
    shares = psutil.cpu_percent(_BUSY_SECONDS, percpu=True)
    return float(sum(shares)) / 100


def _cpu_model(root: Path) -> str | None:
    for line in (_read(root / "proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
