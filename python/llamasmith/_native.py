"""The one place that imports the extension. A failed import says what to do, and is never swallowed."""

from __future__ import annotations

import sys

_HINT = (
    "llamasmith's compiled part could not be imported. If this is a source tree, install it (`pip install .`) and run "
    "Python from another folder. If a library is missing, install what the message above names."
)


def _refuse_other_interpreters() -> None:
    """Python 3.12 asks the extension itself; before that, pybind11 would wait for ever in a second interpreter."""
    if sys.version_info >= (3, 12):
        return
    try:
        import _xxsubinterpreters as interpreters  # type: ignore[import-not-found]
    except ImportError:
        return
    if interpreters.get_current() != interpreters.get_main():
        raise ImportError(
            "llamasmith cannot be imported in a subinterpreter: llama.cpp's backends and log belong to the process. "
            "Import it in the main interpreter, or use a process for each."
        )


_refuse_other_interpreters()
try:
    from . import _core
except ImportError as error:
    if sys.version_info >= (3, 11):
        error.add_note(_HINT)
        raise
    raise ImportError(f"{error}\n{_HINT}", name=error.name, path=error.path) from error

__all__ = ["_core"]
