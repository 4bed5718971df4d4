"""A record as a page shows it: texts, tables and plots in their order. The template adds nothing but markup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..words import question
from . import facts
from .glance import Glance, glances
from .headline import Headline, headline
from .marks import Mark, marks
from .numbers import moment, seconds_in_words
from .section import CellView, cell_view

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ArmView", "Report", "view"]


@dataclass(frozen=True)
class ArmView:
    """One arm: who runs the model, and what it sets that not all arms have."""

    name: str
    mark: Mark
    runs: str
    settings: str


@dataclass(frozen=True)
class Report:
    """All that a report shows. `doubtful` are the conditions with warnings of their own: id, title, how many."""

    title: str
    name: str
    when: str
    headline: Headline
    alerts: tuple[str, ...]
    key_facts: facts.Facts
    glances: tuple[Glance, ...]
    warnings: tuple[str, ...]
    doubtful: tuple[tuple[str, str, int], ...]
    arms: tuple[ArmView, ...]
    common: str
    cells: tuple[CellView, ...]
    fact_lists: tuple[tuple[str, facts.Facts], ...]
    command: str
    made_with: str
    has_build: bool


def view(record: Mapping[str, Any]) -> Report:
    """What a record looks like as a page; draws all plots."""
    common = _common(record)
    cells = tuple(cell_view(record, index) for index in range(len(record["cells"])))
    return Report(
        title=question(record),
        name=record["name"],
        when=moment(record["started"]),
        headline=headline(record),
        alerts=tuple(_alerts(record)),
        key_facts=list(_key_facts(record)),
        glances=tuple(glances(record)) if any(arm["raw"] for cell in record["cells"] for arm in cell["arms"]) else (),
        warnings=tuple(record["warnings"]),
        doubtful=tuple((cell.id, cell.title, len(cell.warnings)) for cell in cells if cell.warnings),
        arms=tuple(_arm(*place, common) for place in _first_places(record)),
        common=_settings(common),
        cells=cells,
        fact_lists=(
            ("How it was measured", facts.plan_facts(record)),
            ("Time", facts.spent_facts(record["spent_seconds"])),
            ("Machine", facts.machine_facts(record["facts"])),
            ("Model", facts.model_facts(record["facts"])),
            *facts.build_facts(record["facts"]),
        ),
        command=facts.command_line(record),
        made_with=_made_with(record),
        has_build=bool(record["facts"]["build"]),
    )


def _alerts(record: Mapping[str, Any]) -> Iterator[str]:
    if record["interrupted"]:
        yield "Interrupted: this shows what was measured until then."
    elif not record["complete"]:
        yield "Not complete: an arm or a condition did not do all its rounds; this shows what was measured."


def _key_facts(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    plan, machine = record["plan"], record["facts"]["machine"]
    equal = {True: "yes", False: "NO", None: "need not be"}[record["outputs_equal"]]
    yield "Model", record["facts"]["model"]["file"]
    yield "Machine", str(machine.get("cpu_model") or "unknown CPU")
    yield "Rounds", f"{plan['rounds']} + {plan['warmup']} to warm up"
    yield "Outputs equal", equal
    warnings = len(record["warnings"]) + sum(len(cell["warnings"]) for cell in record["cells"])
    yield "Warnings", str(warnings) if warnings else "none"
    yield "Took", seconds_in_words(record["spent_seconds"].get("wall"))


def _first_places(record: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """For each arm the first cell that it takes part in, and its index there; the repetition of the first one last."""
    found: dict[str, tuple[Mapping[str, Any], int]] = {}
    for cell in record["cells"]:
        for index, arm in enumerate(cell["arms"]):
            found.setdefault(arm["name"], (cell, index))
    yield from sorted(found.values(), key=lambda place: bool(place[0]["arms"][place[1]]["repeats_first"]))


def _arm(cell: Mapping[str, Any], index: int, common: Mapping[str, Any]) -> ArmView:
    arm = cell["arms"][index]
    mark = marks(cell)[arm["name"]]
    if arm["repeats_first"]:
        return ArmView(arm["name"], mark, "the baseline once more", "shows how far a difference may be noise")
    own = {name: value for name, value in arm["settings"].items() if name not in common and name != "peer"}
    if arm["model"]:
        own["model"] = arm["model"]
    runs = " ".join(filter(None, (arm["settings"].get("peer"), arm["engine"])))
    return ArmView(arm["name"], mark, f"{runs}, the baseline" if index == 0 else runs, _settings(own))


def _common(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that all arms have."""
    first, *others = [cell["arms"][index]["settings"] for cell, index in _first_places(record)]
    return {name: value for name, value in first.items() if all(of.get(name) == value for of in others)}


def _settings(settings: Mapping[str, Any]) -> str:
    words = {True: "on", False: "off"}
    return ", ".join(f"{name}={words[value] if isinstance(value, bool) else value}" for name, value in settings.items())


def _made_with(record: Mapping[str, Any]) -> str:
    """What decides whether doing it again can give the same: the build and the model."""
    build, model = record["facts"]["build"], record["facts"]["model"]
    told = f"model {model['file']} with SHA-256 {model['sha256'][:12]}…"
    if not build:
        return f"Made with the {told}."
    return (
        f"Made with llamasmith {build.get('version')}, built from llama.cpp at {str(build.get('pin'))[:12]} with the "
        f"patch series {str(build.get('series_digest'))[:12]}, and the {told}."
    )
