"""The rows of a metric's table, as text: the same in a terminal, in Markdown and in a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Row", "digits", "rows"]


@dataclass(frozen=True)
class Row:
    """One arm: its median, its ratio to the first arm with the interval, the verdict. What is not known is empty."""

    arm: str
    median: str
    ratio: str
    interval: str
    verdict: str


def rows(cell: Mapping[str, Any], metric: Mapping[str, Any]) -> list[Row]:
    """One row for each arm of a record's cell, in its order; `metric` is one of the cell's."""
    return [_row(cell, metric, arm["name"]) for arm in cell["arms"]]


def _row(cell: Mapping[str, Any], metric: Mapping[str, Any], arm: str) -> Row:
    ratio, middle = metric["ratio"].get(arm), metric["median"][arm]
    median = "-" if middle is None else digits(middle)
    if arm == cell["arms"][0]["name"]:
        return Row(arm, median, "", "", "baseline")
    if ratio is None:
        return Row(arm, median, "", "", "nothing to compare")
    interval = "" if ratio["low"] is None else f"[{_times(ratio['low'])}, {_times(ratio['high'])}]"
    verdict = metric["verdict"].get(arm) or ("noise floor" if arm not in metric["verdict"] else "no verdict")
    return Row(arm, median, _times(ratio["estimate"]), interval, verdict)


def _times(ratio: float) -> str:
    return f"{ratio:.3f}" if ratio >= 0.1 else f"{ratio:.2g}"


def digits(value: float) -> str:
    """A rate or a time with three digits at least: 0.312, 9.87, 171.3."""
    return f"{value:.3g}" if value < 10 else f"{value:.1f}"
