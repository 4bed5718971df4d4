"""Code that is tried in a process of its own, since what it loads may end its process instead of raising."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["try_in_a_process"]


def try_in_a_process(code: str, word: str, *, environment: Mapping[str, str], timeout: float) -> dict[str, Any]:
    """Runs Python code with a word and this process's import path as arguments.

    Returns the JSON object that it prints on its last line; ``{"error": ...}`` if it does not get so far within
    `timeout` seconds.
    """
    command = [sys.executable, "-c", code, word, json.dumps(sys.path)]
    try:
        child = subprocess.run(
            command, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return {"error": f"it did not load within {timeout:g} s"}
    except OSError as error:
        return {"error": f"Python could not be started: {error}"}
    if child.returncode < 0:
        return {"error": f"it ended with {_signal(-child.returncode)}"}
    try:
        found = json.loads(child.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = child.stderr.decode(errors="replace").strip()
        return {"error": f"its process ended with exit status {child.returncode}: {said[-500:]}"}
    return found if isinstance(found, dict) else {"error": f"its process printed {found!r}"}


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return f"{name} (an instruction that this CPU does not have)" if name == "SIGILL" else name
