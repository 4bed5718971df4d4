"""What the lab needs beyond the core lives in the extra ``[bench]``; a missing package says how to get it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..errors import MissingDependency

__all__ = ["INSTALL_COMMAND", "check_dependencies", "need"]

INSTALL_COMMAND = 'pip install "llamasmith[bench]"'


def need(module: str) -> Any:
    """Imports `module` of one of the extra's packages, or raises MissingDependency with the install command."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingDependency(
            f"Measuring needs the package {package}, which could not be imported ({error}). "
            f"Install it with: {INSTALL_COMMAND}",
            name=package,
        ) from error


def check_dependencies() -> None:
    """Raises MissingDependency before anything is measured, rather than after it."""
    for module in ("psutil", "scipy", "jsonschema", "matplotlib", "jinja2"):
        need(module)
