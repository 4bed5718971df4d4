"""The environment of a worker: what decides speed is set by its arm or not set at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .worker import deciding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .arm import Arm

__all__ = ["worker_environment"]

# Another environment's interpreter must find its own packages, not those of the one that asks.
_BELONGS_TO_ONE_PYTHON = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"})


def worker_environment(arm: Arm, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without the variables that decide speed, and with those that `arm` sets."""
    dropped = set(deciding(environment))
    if arm.python is not None:
        dropped |= _BELONGS_TO_ONE_PYTHON
    kept = {name: value for name, value in environment.items() if name not in dropped}
    # Nor from the folder that we happen to stand in.
    return kept | {"PYTHONSAFEPATH": "1"} | dict(arm.env)
