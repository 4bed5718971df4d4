"""Small files of Linux (/proc, /sys): whatever is missing or garbled counts as "nothing known"."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["cpu_list", "finite", "read"]

# The most CPUs that a Linux kernel can be built for is 8192; a larger number is garbage.
MAX_CPU = 1 << 16


def read(file: Path) -> str:
    """What is in the file, stripped; empty if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except (OSError, ValueError):  # ValueError: a NUL in a garbled path
        return ""


def cpu_list(text: str) -> set[int]:
    """``0-3,8`` as a set; empty if it is not such a list."""
    cpus: set[int] = set()
    try:
        for part in text.split(","):
            low, _, high = part.partition("-")
            cpus.update(range(int(low), min(int(high or low), MAX_CPU) + 1))
    except ValueError:
        return set()
    return cpus


def finite(text: str) -> float | None:
    """A finite number; None for any other text."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
