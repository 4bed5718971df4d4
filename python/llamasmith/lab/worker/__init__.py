"""The process of one arm: loads one subject, then answers requests over a pipe.

This package needs nothing but the standard library and what it measures, for it also runs in environments where
llamasmith is not installed: `bootstrap()` gives the command by which an interpreter starts it from its files alone.
So both sides of the pipe are always of one version.
"""

from __future__ import annotations

from pathlib import Path

from .environment import deciding
from .protocol import PROTOCOL
from .serve import main

__all__ = ["PROTOCOL", "bootstrap", "deciding", "main"]

# As a package of another name: a foreign environment may have an llamasmith of its own, which must stay importable.
_LOADER = (
    "import importlib.util as u, sys; "
    "s = u.spec_from_file_location('llamasmith_worker', sys.argv[1]); "
    "m = sys.modules[s.name] = u.module_from_spec(s); "
    "s.loader.exec_module(m); "
    "sys.exit(m.main())"
)


def bootstrap(python: str) -> list[str]:
    """The command that starts a worker by the interpreter `python`."""
    return [python, "-c", _LOADER, str(Path(__file__))]
