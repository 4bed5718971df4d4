"""What an experiment's figures must reach, and whether they do, in a terminal of 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from ..errors import LabError
from ..lab.condition import parse_condition
from ..lab.experiments import load_all
from ..lab.requirements import Outcome, outcomes
from ..lab.stats import enough_rounds
from ..lab.words import pressures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

__all__ = ["print_required"]


def print_required(record: Mapping[str, Any], console: Console) -> bool:
    """One table for each metric; whether anything was measured. Raises LabError for a record without requirements."""
    definition, plan = load_all().get(record["name"]), record["plan"]
    if definition is None or not definition.requirements:
        raise LabError(
            f"Nothing is required of {record['name']!r}. Give a record of an experiment that has requirements: threads."
        )
    facts = record["facts"]
    console.print(Text(f"{facts['model']['file']} on {facts['machine'].get('cpu_model') or 'an unknown CPU'}"))
    measured, missing = False, []
    conditions = [cell["condition"]["name"] for cell in record["cells"]]
    here = [one for one in definition.requirements if parse_condition(one.under).name in conditions]
    for metric in plan["metrics"]:
        last = metric == plan["metrics"][-1]
        asked = [one for one in here if last or one.what != "idle"]  # which is not of a metric
        found = outcomes(record, asked, metric)
        if not found:
            continue
        measured |= any(outcome.found is not None for outcome in found)
        missing += [outcome.missing for outcome in found if outcome.missing]
        console.print()
        console.print(_table(metric, found, usual=definition.requirements[0].arm))
    console.print()
    for note in (*_notes(record), *(f"Not measured: {reason}" for reason in dict.fromkeys(missing))):
        console.print(Text(note, "yellow"))
    return measured


def _notes(record: Mapping[str, Any]) -> list[str]:
    rounds, notes = record["plan"]["rounds"], []
    if record["outputs_equal"] is False:
        notes.append("OUTPUTS DIFFER where they must be equal: these figures mean nothing.")
    if rounds < enough_rounds(record["plan"]["aa"]):
        notes.append(f"Too few rounds ({rounds}): intervals are too often too narrow.")
    if record["interrupted"]:
        notes.append("Interrupted: these are the values measured until then.")
    return notes


def _table(metric: str, found: list[Outcome], usual: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(Text(metric), width=16)
    table.add_column("required", ratio=1)
    table.add_column("measured", width=18)
    table.add_column("", no_wrap=True, width=6)
    before = ""
    for outcome in found:
        condition = ", ".join(what for _, what in pressures(outcome.condition)) or "idle"
        of = outcome.requirement
        required = of.words if of.arm == usual else f"{of.arm}: {of.words}"
        verdict = Text("met", "green") if outcome.met else Text("missed", "red")
        if outcome.found is None:
            verdict = Text("-", "yellow")
        table.add_row(Text("" if condition == before else condition), Text(required), Text(_measured(outcome)), verdict)
        before = condition
    return table


def _measured(outcome: Outcome) -> str:
    found = outcome.found
    if found is None:
        return "not measured"
    if outcome.requirement.what == "idle":
        return f"{found.estimate:.2%}"
    interval = "" if found.low is None or found.high is None else f" [{found.low:.2f}, {found.high:.2f}]"
    of = f"\nof {outcome.reference}" if len(outcome.requirement.over) > 1 else ""
    return f"{found.estimate:.2f}{interval}{of}"
