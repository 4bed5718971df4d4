"""What the figures of a benchmark run belong to: machine, build, engine and model. Other facts, other figures."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llamasmith import build_info, load_engine
from llamasmith.hub import KNOWN, known
from llamasmith.lab.compare import Difference, differences, lasting_facts
from llamasmith.lab.machine import machine_facts, model_facts, package_versions
from llamasmith.lab.worker import deciding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["SECTION", "add_facts", "collect", "differing", "refusal"]

SECTION = "llamasmith"
"""Where our facts stand in pytest-benchmark's ``machine_info``."""

MODEL = "smollm2-135m"

# A name that means nothing elsewhere, and a clock that is measured anew each time.
_NOT_FACTS = ("node",)
_NOT_FACTS_OF_CPU = ("hz_actual", "hz_actual_friendly")
# Where models lie, not how they run.
_NOT_DECIDING = "LLAMASMITH_CACHE"


def collect(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The facts that decide speed here. Loads the engine that the benchmarks will use."""
    variables = deciding(os.environ if environment is None else environment)
    variables.pop(_NOT_DECIDING, None)
    lasting = lasting_facts(
        {
            "machine": machine_facts(),
            "model": _model(),
            "packages": package_versions(),
            "build": build_info().asdict(),
        }
    )
    return {**lasting, "engine": load_engine().name, "environment": variables}


def _model() -> dict[str, str | int]:
    """The real model; before it is pulled, what it will be."""
    model, path = next((model, path) for model, path in known() if model.name == MODEL)
    return model_facts(path) if path else {"file": model.file, "bytes": model.size, "sha256": KNOWN[MODEL].sha256}


def add_facts(machine_info: dict[str, Any], facts: Mapping[str, Any]) -> None:
    """Puts our facts into ``machine_info``, and takes out what no two runs have in common."""
    for name in _NOT_FACTS:
        machine_info.pop(name, None)
    cpu = machine_info.get("cpu") or {}
    machine_info["cpu"] = {name: value for name, value in cpu.items() if name not in _NOT_FACTS_OF_CPU}
    machine_info[SECTION] = dict(facts)


def differing(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Difference]:
    """Where two ``machine_info`` differ. A run that holds none of our facts differs in all of them."""
    return differences(here, there)


def refusal(found: Sequence[Difference]) -> str:
    """Why two runs are not compared, and what to do instead."""
    lines = "\n".join(f"  {difference}" for difference in found)
    return (
        f"The saved run was measured under other conditions, so its figures do not compare with those of here:\n"
        f"{lines}\n"
        "Measure both on one machine with one build. Two builds, engines or settings are compared as arms of one "
        "experiment: llamasmith ab, with python=INTERPRETER for another environment."
    )
