"""A record in a terminal: tables, lines and sentences of at most 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from ..lab.rows import digits, rows
from ..lab.words import conclusions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from ..lab.contrast import Contrast
    from ..lab.stats import Ratio

__all__ = ["print_contrast", "print_record"]

_STYLES = {"faster": "green", "slower": "red"}


def print_record(record: dict[str, Any], console: Console) -> None:
    """All that a person wants to know of a record."""
    facts, plan = record["facts"], record["plan"]
    if record["question"]:
        console.print(Text(record["question"], "bold"))
    console.print(Text(f"{facts['model']['file']} on {facts['machine'].get('cpu_model') or 'an unknown CPU'}"))
    console.print(f"threads: {_threads(record)}; rounds: {plan['rounds']}, after {plan['warmup']} to warm up")
    for cell in record["cells"]:
        console.print()
        _print_cell(cell, console, alone=len(record["cells"]) == 1)
    console.print()
    for text in record["warnings"]:
        console.print(Text(f"warning: {text}", "yellow"))
    for sentence in conclusions(record):
        console.print(Text(sentence, "bold"))
    if record["interrupted"]:
        console.print(Text("Interrupted: these are the values measured until then.", "bold"))


def _threads(record: dict[str, Any]) -> str:
    settings = [arm["settings"] for cell in record["cells"] for arm in cell["arms"]]
    numbers = {str(of["n_threads"]) for of in settings if "n_threads" in of}
    return ", ".join(sorted(numbers, key=lambda text: (len(text), text)))  # 2, 16, auto


def _print_cell(cell: dict[str, Any], console: Console, *, alone: bool) -> None:
    name = cell["condition"]["name"]
    if not alone or name != "idle":
        console.print(Text(f"Condition: {name}", "bold"))
        if cell["in_force"]:
            console.print(f"  {cell['in_force']}")
    if not any(arm["raw"] for arm in cell["arms"]):
        console.print(Text(f"  nothing measured: {cell['not_run'] or 'interrupted'}", "yellow"))
        return
    for metric, found in cell["metrics"].items():
        console.print(_table(cell, metric, found))
        console.print()
    console.print(_costs(cell))
    if any(arm["quality"] for arm in cell["arms"]):
        console.print()
        console.print(_quality(cell))
    console.print()
    for line, style in _lines(cell):
        console.print(Text(line, style))


def _table(cell: dict[str, Any], metric: str, found: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(Text(f"{metric}, {found['unit']}"), overflow="fold", min_width=18)
    table.add_column("median", justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("95% interval", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows(cell, found):
        verdict = Text(row.verdict, _STYLES.get(row.verdict, ""))
        table.add_row(Text(row.arm), row.median, row.ratio, row.interval, verdict)
    return table


def _costs(cell: dict[str, Any]) -> Table:
    """What the last metric cost, which is generation where that was measured."""
    metric, found = list(cell["metrics"].items())[-1]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(Text(f"costs of {metric}"), overflow="fold", min_width=18)
    for heading in ("CPU ms/token", "switches/token", "GB/s", "RSS MB", "idle CPU s"):
        table.add_column(heading, justify="right")
    for arm in cell["arms"]:
        costs = found["costs"][arm["name"]]
        voluntary, forced = costs["voluntary_switches_per_token"], costs["involuntary_switches_per_token"]
        table.add_row(
            Text(arm["name"]),
            _digits(costs["cpu_seconds_per_token"], 1e3),
            _digits(None if voluntary is None or forced is None else voluntary + forced),
            _digits(costs["gigabytes_per_second"]),
            _digits(costs["peak_rss_bytes"], 1e-6, ".0f"),
            _digits(arm["idle_cpu_seconds"], 1, ".2f"),
        )
    return table


def _quality(cell: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("quality", overflow="fold", min_width=18)
    for heading in ("perplexity", "KL mean", "KL p99", "same top"):
        table.add_column(heading, justify="right")
    for arm in cell["arms"]:
        if found := arm["quality"]:
            table.add_row(
                Text(arm["name"]),
                f"{found['perplexity']:.3f}",
                _digits(found["kl_mean"], 1, ".2e"),
                _digits(found["kl_p99"], 1, ".2e"),
                _digits(found["same_top"], 1, ".1%"),
            )
    return table


def print_contrast(found: Contrast, console: Console) -> None:
    """One condition and metric of several records."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(
        Text(f"{found.metric.name}, {found.metric.unit}, {found.condition}"), overflow="fold", min_width=18
    )
    for heading in ("record", "median", "ratio", "change since"):
        table.add_column(heading, justify="right")
    for row in found.rows:
        table.add_row(
            Text(row.arm),
            str(row.record),
            "-" if row.median is None else digits(row.median),
            "baseline" if row.ratio is None else _ratio(row.ratio),
            "" if row.change is None else _ratio(row.change),
        )
    console.print(table)
    console.print()


def _ratio(ratio: Ratio) -> str:
    interval = "" if ratio.low is None or ratio.high is None else f" [{ratio.low:.3f}, {ratio.high:.3f}]"
    return f"{ratio.estimate:.3f}{interval}"


def _digits(value: float | None, times: float = 1.0, form: str = ".3g") -> str:
    return "-" if value is None else format(value * times, form)


def _lines(cell: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What there is to know beside the tables: outputs and warnings."""
    outputs = cell["outputs"]
    if outputs["equal"] is None:
        yield "outputs equal: not comparable (the arms differ in more than engine and waiting)", ""
    elif outputs["equal"]:
        bits = "bit-identical" if outputs["logits_identical"] else "NOT bit-identical"
        yield f"outputs equal: yes ({outputs['n_tokens']} greedy tokens; logits {bits})", ""
    else:
        yield "OUTPUTS DIFFER where they must be equal; do not use this comparison:", "bold red"
    for name, entry in outputs["arms"].items():
        if entry["first_difference"] is not None:
            yield f"  {name} differs from the first arm at token {entry['first_difference'] + 1}", ""
    for text in cell["warnings"]:
        yield f"warning: {text}", "yellow"
