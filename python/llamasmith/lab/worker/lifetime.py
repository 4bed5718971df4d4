"""A worker, and what it starts, must not outlive the parent."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys

__all__ = ["end_with_parent"]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Ends this process once its parent has ended, on Linux.

    A parent that is killed cannot end us, and in the midst of a long sample we would not see its pipe close.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
