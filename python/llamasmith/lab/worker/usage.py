"""What a process has used: CPU time, context switches, page faults, memory."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import asdict, dataclass

__all__ = ["Usage"]

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


@dataclass(frozen=True)
class Usage:
    """Sums since the process started, over all its threads; `peak_rss_bytes` is the largest so far."""

    cpu_seconds: float
    voluntary_switches: int
    involuntary_switches: int
    minor_faults: int
    major_faults: int
    peak_rss_bytes: int

    @classmethod
    def now(cls) -> Usage:
        """Of this process."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(
            # The process's clock counts nanoseconds; getrusage() steps of the kernel's tick on some systems.
            time.process_time(),
            used.ru_nvcsw,
            used.ru_nivcsw,
            used.ru_minflt,
            used.ru_majflt,
            used.ru_maxrss * _RSS_UNIT,
        )

    def since(self, before: Usage) -> dict[str, float | int]:
        """What was used after `before`, ready for a reply; the peak is that of the whole life."""
        difference = {name: value - getattr(before, name) for name, value in asdict(self).items()}
        return difference | {"peak_rss_bytes": self.peak_rss_bytes}
