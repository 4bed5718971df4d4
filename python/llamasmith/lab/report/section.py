"""One condition as a page shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..words import leading_metric
from .marks import Mark, marks
from .noise import noise_in_words
from .numbers import amount, percent
from .plots import pairs_plot, roofline_plot, rounds_plot
from .tables import Table, costs_table, process_table, quality_table, results_table
from .titles import condition_title, metric_title

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["CellView", "Figure", "MetricView", "cell_view"]


@dataclass(frozen=True)
class Figure:
    """A plot with a title and a sentence that says how to read it. `svg` is markup of our own making."""

    title: str
    note: str
    svg: str
    legend: tuple[tuple[str, Mark], ...] = ()
    tall: bool = False


@dataclass(frozen=True)
class MetricView:
    """One metric under a condition."""

    id: str
    title: str
    name: str
    unit: str
    results: Table
    figures: tuple[Figure, ...]
    costs: Table | None


@dataclass(frozen=True)
class CellView:
    """One condition. `notes` are pairs of a tone and a text, such as why it was not run."""

    id: str
    title: str
    name: str
    notes: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    metrics: tuple[MetricView, ...]
    tables: tuple[Table, ...]


def cell_view(record: Mapping[str, Any], index: int) -> CellView:
    """All that is known of the cell `index` of a record."""
    cell = record["cells"][index]
    measured = any(arm["raw"] for arm in cell["arms"])
    tables = (process_table(cell, record["plan"]["idle_seconds"]), quality_table(cell)) if measured else ()
    return CellView(
        id=f"cell-{index}",
        title=condition_title(cell["condition"]),
        name=cell["condition"]["name"],
        notes=tuple(_notes(record, cell, measured)),
        warnings=tuple(cell["warnings"]),
        metrics=tuple(_metric(record, index, name) for name in _ordered(cell)) if measured else (),
        tables=tuple(table for table in tables if table is not None),
    )


def _ordered(cell: Mapping[str, Any]) -> list[str]:
    """The metric that verdicts are told by comes first."""
    return sorted(cell["metrics"], key=lambda name: name != leading_metric(cell))


def _notes(record: Mapping[str, Any], cell: Mapping[str, Any], measured: bool) -> Iterator[tuple[str, str]]:
    if cell["not_run"]:
        yield "bad", f"Not run: {cell['not_run']}"
    elif not measured:
        yield "bad", "Nothing was measured here: the experiment ended before."
    if cell["not_in_force"]:
        yield "bad", f"Not in force, so there is no verdict: {cell['not_in_force']}"
    if cell["in_force"]:
        yield "plain", f"In force: {cell['in_force']}."
    if measured and not cell["complete"] and not cell["not_run"]:
        rounds = record["plan"]["rounds"]
        yield "bad", f"Not complete: not every arm finished all {rounds} rounds."
    for arm in cell["arms"]:
        if arm["ended"]:
            yield "bad", f"{arm['name']} ended early: {arm['ended']}"
    if cell["outputs"] is not None:
        yield from _outputs(cell)


def _outputs(cell: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    outputs = cell["outputs"]
    n = outputs["n_tokens"]
    if outputs["equal"]:
        bits = {
            True: "logits identical bit for bit",
            False: "logits not identical bit for bit",
            None: "logits not known",
        }[outputs["logits_identical"]]
        yield "good", f"Outputs are equal: the same {n} greedy tokens; {bits}."
    elif outputs["equal"] is None:
        yield "plain", "Outputs need not be equal: no two arms differ in engine and waiting alone."
    else:
        yield "bad", "Outputs differ where they must be equal: do not use this comparison."
    for name, entry in outputs["arms"].items():
        if entry["first_difference"] is not None:
            allowed = "" if entry["must_equal"] else ", which it may: its arithmetic is another"
            yield (
                "plain" if allowed else "bad",
                f"{name} differs from the baseline at token {entry['first_difference'] + 1} of {n}{allowed}.",
            )


def _metric(record: Mapping[str, Any], index: int, name: str) -> MetricView:
    cell = record["cells"][index]
    metric = cell["metrics"][name]
    better = "more is better" if metric["higher_is_better"] else "less is better"
    return MetricView(
        id=f"cell-{index}-{name}",
        title=metric_title(metric),
        name=name,
        unit=f"{metric['unit']}, {better}",
        results=results_table(cell, name),
        figures=tuple(figure for figure in _figures(record, index, name) if figure.svg),
        costs=costs_table(cell, name),
    )


def _figures(record: Mapping[str, Any], index: int, name: str) -> Iterator[Figure]:
    cell, warmup = record["cells"][index], record["plan"]["warmup"]
    metric, prefix = cell["metrics"][name], f"f{index}-{name}"
    hollow = " Hollow: warm-up, not counted." if warmup else ""
    yield Figure(
        "Beside the baseline: each dot is one round",
        f"The arm's value over the baseline's in the same round, the first round on top.{hollow} Bar: the median with "
        f"its 95 % interval.{_noise(cell, metric)}",
        pairs_plot(cell, name, warmup, f"{prefix}-p"),
    )
    yield Figure(
        f"Every value, in {metric['unit']}",
        f"Each dot is one sample, lines are medians.{hollow} Nothing is left out.",
        rounds_plot(cell, name, warmup, f"{prefix}-r"),
        legend=tuple(marks(cell).items()),
        tall=True,
    )
    roof = record["facts"].get("roofline")
    yield Figure(
        "How much of the memory's speed is used",
        _roofline(metric, roof),
        roofline_plot(cell, name, roof, f"{prefix}-m"),
    )


def _noise(cell: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    noise = noise_in_words(cell, metric)
    return f" Grey: noise, as the baseline differs from itself ({noise})." if noise else ""


def _roofline(metric: Mapping[str, Any], roof: Mapping[str, Any] | None) -> str:
    text = "Each token needs all weights once, so memory sets the limit of generation."
    if roof is None:
        return text + " What this machine can read was not measured."
    shares = [of["roofline_share"] for of in metric["costs"].values() if of["roofline_share"] is not None]
    limit = f"{amount(roof['gigabytes_per_second'])} GB/s with {roof['n_threads']} threads"
    best = f" The best arm uses {percent(max(shares))} of it." if shares else ""
    return f"{text} This machine reads {limit}.{best}"
