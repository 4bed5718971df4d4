"""The environment of a worker: what decides speed is set by its arm or not set at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .arm import Arm

__all__ = ["deciding", "worker_environment"]

# OpenMP runtimes (how threads wait, how many, where), BLAS libraries (how many threads), ggml, llama.cpp, ourselves.
_PREFIXES = ("OMP_", "GOMP_", "KMP_", "OPENBLAS_", "MKL_", "BLIS_", "GGML_", "LLAMA_", "LLAMASMITH_")

# Another environment's interpreter must find its own packages, not those of the one that asks.
_BELONGS_TO_ONE_PYTHON = frozenset({"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"})


def deciding(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables in `environment` that decide speed, by name."""
    return {name: value for name, value in sorted(environment.items()) if name.startswith(_PREFIXES)}


def worker_environment(arm: Arm, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without the variables that decide speed, and with those that `arm` sets."""
    dropped = set(deciding(environment))
    if arm.python is not None:
        dropped |= _BELONGS_TO_ONE_PYTHON
    kept = {name: value for name, value in environment.items() if name not in dropped}
    if arm.python is not None:
        kept["PYTHONSAFEPATH"] = "1"  # nor from the folder that we happen to stand in
    return kept | dict(arm.env)
