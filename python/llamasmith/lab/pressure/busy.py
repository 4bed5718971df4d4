"""Processes that do nothing but use one CPU each, all the time or every other few seconds."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

__all__ = ["CODE", "start_busy"]

# Ends with its parent, even one that is killed; Ctrl-C is the parent's business.
CODE = """
import ctypes, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
except (OSError, AttributeError):
    pass
every = float(sys.argv[1])
print("ready", flush=True)
while not every:
    pass
# By the clock that all processes of a machine share: neighbours come and go together.
while True:
    turn, since = divmod(time.monotonic(), every)
    if turn % 2:
        time.sleep(every - since)
"""


def start_busy(every: float = 0.0) -> subprocess.Popen[Any]:
    """One process, at work when this returns; with `every` it works and rests for so many seconds in turn."""
    command = [sys.executable, "-I", "-c", CODE, str(every)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    process.stdout.readline()
    return process
