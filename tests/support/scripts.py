"""Our scripts (cmake/, ci/, vendor/) as modules: they belong to no package."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load_script"]


def load_script(path: Path) -> Any:
    """The script as a new module. It finds the modules beside it while it is loaded, as when it is run."""
    spec = importlib.util.spec_from_file_location(f"smith_script_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their annotations up there
    before = sys.path[:]
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before  # some put python/ first; other tests are to see what is installed
    return module
