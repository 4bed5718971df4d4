"""Records in other forms: CSV with every raw value, Markdown tables for a pull request."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from .plan import parse_metric
from .results import Sample
from .rows import rows
from .words import conclusions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["to_csv", "to_markdown"]

_SAMPLE_COLUMNS = ("round", "position", "warmup", "tokens", "throttled_seconds", "overlap")
_USAGE_COLUMNS = (
    "cpu_seconds",
    "voluntary_switches",
    "involuntary_switches",
    "minor_faults",
    "major_faults",
    "peak_rss_bytes",
)


def to_csv(record: Mapping[str, Any]) -> str:
    """One line for each sample, warm-up included, in the order of measuring within each arm."""
    text = io.StringIO()
    columns = ["condition", "arm", "engine", "metric", "unit", "value", "seconds", *_SAMPLE_COLUMNS, *_USAGE_COLUMNS]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(record))
    return text.getvalue()


def _rows(record: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for cell in record["cells"]:
        for arm in cell["arms"]:
            for fields in arm["raw"]:
                metric = parse_metric(fields["metric"])
                row = {"condition": cell["condition"]["name"], "arm": arm["name"], "engine": arm["engine"]}
                row |= {"metric": metric.name, "unit": metric.unit, "value": Sample.from_dict(fields).value(metric)}
                row |= {"seconds": sum(fields["seconds"])}
                row |= {name: fields[name] for name in _SAMPLE_COLUMNS}
                yield row | {name: (fields["usage"] or {}).get(name) for name in _USAGE_COLUMNS}


def to_markdown(record: Mapping[str, Any]) -> str:
    """The verdicts as sentences, a table for each condition and metric, and what it was measured with."""
    return "\n".join(_markdown(record)) + "\n"


def _markdown(record: Mapping[str, Any]) -> Iterator[str]:
    facts, plan = record["facts"], record["plan"]
    if record["question"]:
        yield f"**{_cell_text(record['question'])}**"
        yield ""
    for sentence in conclusions(record):
        yield f"- {_cell_text(sentence)}"
    for cell in record["cells"]:
        for name, metric in cell["metrics"].items():
            yield ""
            yield from _table(cell, name, metric)
    yield ""
    build = facts["build"]
    yield (
        f"{facts['machine'].get('cpu_model') or 'unknown CPU'}, {facts['machine'].get('kernel')}; "
        f"model {facts['model']['file']}; llama.cpp {str(build.get('pin'))[:9]}, "
        f"series {str(build.get('series_digest'))[:12]}; {plan['rounds']} rounds after {plan['warmup']} to warm up."
    )
    yield "Ratios are medians of paired rounds, with 95 % intervals."


def _table(cell: Mapping[str, Any], name: str, metric: Mapping[str, Any]) -> Iterator[str]:
    yield f"| {name}, {metric['unit']}, {cell['condition']['name']} | median | ratio | 95 % interval | verdict |"
    yield "|---|---:|---:|---|---|"
    for row in rows(cell, metric):
        yield f"| {_cell_text(row.arm)} | {row.median} | {row.ratio} | {row.interval} | {row.verdict} |"


def _cell_text(text: str) -> str:
    """Text that stays in its cell, and that nobody's renderer takes for markup."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").replace("`", "\\`")
