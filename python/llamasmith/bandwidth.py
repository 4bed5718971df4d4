"""How fast this machine reads memory: the roof under which generation works, for every token reads all weights once."""

from __future__ import annotations

from ._check import integer
from ._native import _core
from .errors import InvalidOption
from .pool import thread_count

__all__ = ["read_bandwidth"]

# Several times the last-level cache of common machines (large servers have up to 400 MB of it for one socket).
_BYTES = 1 << 30
_SECONDS = 1.0
_MAX_SECONDS = 600.0


def read_bandwidth(n_threads: int | None = None, *, n_bytes: int = _BYTES, seconds: float = _SECONDS) -> float:
    """Bytes per second that threads read together from memory: the best of the passes within `seconds`.

    Args:
        n_threads: by default what this process may really use.
        n_bytes: memory to read; a smaller amount than several times the last-level cache measures the cache.
        seconds: how long to go on, after three passes at least.

    Raises InvalidOption, or NotEnoughMemory where memory or threads cannot be had.
    """
    if not 0 <= seconds <= _MAX_SECONDS:
        raise InvalidOption(f"seconds is {seconds}. Allowed: 0 to {_MAX_SECONDS:g}.")
    return _core.read_bandwidth(
        n_threads=thread_count(n_threads), n_bytes=integer("n_bytes", n_bytes, 1 << 20, 1 << 62), seconds=seconds
    )
