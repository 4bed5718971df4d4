"""Processes that do nothing but use one CPU each."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

__all__ = ["CODE", "start_busy"]

# Ends with its parent, even one that is killed; Ctrl-C is the parent's business.
CODE = """
import ctypes, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
except (OSError, AttributeError):
    pass
print("ready", flush=True)
while True:
    pass
"""


def start_busy() -> subprocess.Popen[Any]:
    """One process, which has begun to work when this returns."""
    process = subprocess.Popen([sys.executable, "-I", "-c", CODE], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()
    return process
