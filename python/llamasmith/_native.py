"""The one place that imports the extension. A failed import says what to do, and is never swallowed."""

from __future__ import annotations

import sys

_HINT = (
    "llamasmith's compiled part could not be imported. If this is a source tree, install it (`pip install .`) and run "
    "Python from another folder. If a library is missing, install what the message above names."
)

try:
    from . import _core
except ImportError as error:
    if sys.version_info >= (3, 11):
        error.add_note(_HINT)
        raise
    raise ImportError(f"{error}\n{_HINT}", name=error.name, path=error.path) from error

__all__ = ["_core"]
