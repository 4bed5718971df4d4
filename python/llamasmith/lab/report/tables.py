"""The tables of one condition: results, costs, processes, quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..rows import rows
from .marks import Mark, marks
from .numbers import amount, megabytes, percent

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TONES", "Row", "Table", "costs_table", "process_table", "quality_table", "results_table", "tone"]

TONES = {"faster": "faster", "slower": "slower", "no difference seen": "even"}


@dataclass(frozen=True)
class Row:
    """One arm; `tone` colours the first cell."""

    arm: str
    mark: Mark
    cells: tuple[str, ...]
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """Columns are pairs of a heading and the unit below it; the arms' own column comes before them."""

    caption: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


def tone(verdict: str | None) -> str:
    """The class of the style sheet for a verdict."""
    return TONES.get(verdict or "", "none")


def results_table(cell: Mapping[str, Any], name: str) -> Table:
    """Medians, ratios, intervals and verdicts of a metric."""
    metric, looks = cell["metrics"][name], marks(cell)
    found = tuple(
        Row(row.arm, looks[row.arm], (row.verdict, row.ratio, row.interval, row.median), tone(row.verdict))
        for row in rows(cell, metric)
    )
    ratio = "times the speed" if metric["higher_is_better"] else "times the time"
    columns = (("Verdict", ""), ("Ratio", ratio), ("95 % interval", "of the ratio"), ("Median", metric["unit"]))
    return Table("Medians, and ratios to the baseline over the same rounds", columns, found)


def costs_table(cell: Mapping[str, Any], name: str) -> Table | None:
    """What a token costs; None where nothing is known of it."""
    costs, looks = cell["metrics"][name]["costs"], marks(cell)
    if not any(value is not None for of in costs.values() for value in of.values()):
        return None
    columns = (
        ("CPU time", "ms/token"),
        ("Switches, voluntary", "per token"),
        ("Switches, involuntary", "per token"),
        ("Page faults, minor", "per token"),
        ("Page faults, major", "per token"),
        ("Throttled", "of the time"),
    )
    found = tuple(Row(arm, looks[arm], _costs(of)) for arm, of in costs.items())
    return Table("What a token costs, medians over the rounds that count", columns, found)


def _costs(of: Mapping[str, float | None]) -> tuple[str, ...]:
    return (
        amount(of["cpu_seconds_per_token"], 1e3),
        amount(of["voluntary_switches_per_token"]),
        amount(of["involuntary_switches_per_token"]),
        amount(of["minor_faults_per_token"]),
        amount(of["major_faults_per_token"]),
        percent(of["throttled_share"]),
    )


def process_table(cell: Mapping[str, Any], idle_seconds: float) -> Table | None:
    """What an arm's process needs: memory, and CPU time when it has nothing to do. None where neither is known."""
    found = []
    for arm in cell["arms"]:
        peaks = [metric["costs"][arm["name"]]["peak_rss_bytes"] for metric in cell["metrics"].values()]
        peak = max((peak for peak in peaks if peak is not None), default=None)
        idle = arm["idle_cpu_seconds"]
        if peak is not None or idle is not None:
            found.append(
                Row(
                    arm["name"],
                    marks(cell)[arm["name"]],
                    (megabytes(peak), "–" if idle is None else f"{amount(idle)} s"),
                )
            )
    columns = (("Peak memory", "of the process"), ("CPU time when idle", f"in {idle_seconds:g} s after work"))
    return Table("What a process needs", columns, tuple(found)) if found else None


def quality_table(cell: Mapping[str, Any]) -> Table | None:
    """How far the arms' token distributions are from the first one's; None where they were not compared."""
    looks = marks(cell)
    found = tuple(
        Row(
            arm["name"],
            looks[arm["name"]],
            (
                f"{of['perplexity']:.4g}",
                _divergence(of["kl_mean"]),
                _divergence(of["kl_p99"]),
                "–" if of["same_top"] is None else f"{of['same_top']:.2%}",
                str(of["positions"]),
            ),
        )
        for arm in cell["arms"]
        if (of := arm["quality"])
    )
    columns = (
        ("Perplexity", "less is better"),
        ("KL divergence, mean", "nats"),
        ("KL divergence, 99th percentile", "nats"),
        ("Same first choice", "of positions"),
        ("Positions", ""),
    )
    return Table("Quality: token distributions beside the baseline's", columns, found) if found else None


def _divergence(value: float | None) -> str:
    return "–" if value is None else "0" if value == 0 else f"{value:.2g}"
