"""Whether two records may be compared: only if nothing but the arms differs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Difference", "check_comparable", "check_same_facts", "differences", "lasting_facts"]

# What changes by itself and is measured anew each time, or has no effect on the arms.
_VOLATILE = ("machine.busy_cpus", "machine.load_average", "roofline", "environment", "builds")
# Of the packages only our own takes part in what is measured.
_PACKAGE = "packages.llamasmith"
_PLAN = ("metrics", "conditions", "defaults", "warmup", "seed", "sample_seconds")


@dataclass(frozen=True)
class Difference:
    """Where two nested tables differ: the path of the entry, and its value in each (None where it is missing)."""

    path: str
    one: object
    other: object

    def __str__(self) -> str:
        return f"{self.path}: {_brief(self.one)} here, {_brief(self.other)} there"


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """All entries that differ between two nested tables, in the order of their paths. Lists are compared as a whole."""
    return list(_walk("", _plain(one), _plain(other)))


def _plain(table: Mapping[str, Any]) -> Any:
    """As JSON gives it back: no tuples, no keys that are no text."""
    return json.loads(json.dumps(table))


def _walk(path: str, one: Any, other: Any) -> Iterator[Difference]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            yield from _walk(f"{path}.{name}" if path else name, one.get(name), other.get(name))
    elif one != other:
        yield Difference(path, one, other)


def lasting_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that decide speed, without those that change by themselves (load, what was measured of memory)."""
    flat = {**facts, "machine": dict(facts.get("machine") or {})}
    flat["packages"] = {_PACKAGE.partition(".")[2]: (facts.get("packages") or {}).get(_PACKAGE.partition(".")[2])}
    for path in _VOLATILE:
        table, _, name = path.rpartition(".")
        (flat[table] if table else flat).pop(name, None)
    return flat


def check_same_facts(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises LabError where a record's facts differ from those of here and now."""
    differing = differences(lasting_facts(recorded), lasting_facts(now))
    if differing:
        raise LabError(
            "This record cannot be gone on with: what decides speed has changed (here: in the record, there: now)."
            + "\n"
            + _listed(differing)
            + "\nMeasure anew, into another file."
        )


def check_comparable(records: Sequence[Mapping[str, Any]]) -> None:
    """Raises LabError with the list of what differs beside the arms: machine, build, model, plan or first arm."""
    first = records[0]
    for number, record in enumerate(records[1:], start=2):
        differing = [
            *differences(_frame(first), _frame(record)),
            *differences({"first arm": _baseline(first)}, {"first arm": _baseline(record)}),
        ]
        if differing:
            raise LabError(
                f"The first record and number {number} differ in more than the arms, so their figures do not compare "
                f"(here: the first, there: number {number}).\n"
                + _listed(differing)
                + "\nMeasure what you want to compare as arms of one run; python=INTERPRETER runs an arm in another "
                "environment, model=PATH with another model."
            )


def _frame(record: Mapping[str, Any]) -> dict[str, Any]:
    plan = {name: record["plan"][name] for name in _PLAN}
    return {**lasting_facts(record["facts"]), "plan": plan}


def _baseline(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record["plan"]["arms"][0].items() if name != "name"}


def _listed(differing: Sequence[Difference]) -> str:
    return "\n".join(f"  {difference}" for difference in differing)


def _brief(value: object, limit: int = 60) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
