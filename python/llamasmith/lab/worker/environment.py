"""Variables of the environment that decide speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["deciding"]

# OpenMP runtimes (how threads wait, how many, where), BLAS libraries (how many threads), ggml, llama.cpp, PyTorch,
# ourselves.
_PREFIXES = ("OMP_", "GOMP_", "KMP_", "OPENBLAS_", "MKL_", "BLIS_", "GGML_", "LLAMA_", "LLAMASMITH_", "TORCH_")


def deciding(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables in `environment` that decide speed, by name."""
    return {name: value for name, value in sorted(environment.items()) if name.startswith(_PREFIXES)}
