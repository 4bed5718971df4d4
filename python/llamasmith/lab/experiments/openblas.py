"""OpenBLAS for large products."""

from __future__ import annotations

from ..requirements import Requirement
from .definition import Definition, Here

__all__ = ["EXPERIMENT"]

_OFF, _ON = "off", "openblas"


def _arms(here: Here) -> list[str]:
    return [f"{here.engine},backend=cpu,name={_OFF}", f"{here.engine},backend=openblas,name={_ON}"]


EXPERIMENT = Definition(
    name="openblas",
    question="Does OpenBLAS pay for prompts, against the engine's own kernels?",
    arms=_arms,
    metrics=("pp32", "pp128", "pp512"),
    needs=lambda here: (
        None
        if "openblas" in here.backends
        else "this build has no backend openblas, only " + ", ".join(here.backends) + "."
    ),
    quality=True,
    requirements=(Requirement("idle", _ON, 0.97, over=(_OFF,)),),
)
