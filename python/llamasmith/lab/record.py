"""Records: an experiment as one JSON object, described by ``record.schema.json`` beside this file."""

from __future__ import annotations

import json
import os
import tempfile
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ..errors import LabError
from .arm import AA_NAME
from .costs import costs
from .diagnose import diagnose, diagnose_cell
from .outputs import compare_outputs
from .results import ArmResult, CellResult, Results, Sample
from .stats import Ratio, ratio, round_ratios, verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .plan import Experiment, Metric

__all__ = ["SCHEMA", "build_record", "check_writable", "json_schema", "restore_results", "write_record"]

SCHEMA = "llamasmith.record/2"


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of a record."""
    text = files(__package__).joinpath("record.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def build_record(results: Results, *, under_way: bool = False) -> dict[str, Any]:
    """The record of what was found. While the experiment is `under_way`, only cells that are finished have verdicts."""
    experiment = results.experiment
    cells = [_cell(results, cell, under_way and not cell.finished) for cell in results.cells]
    equal = [cell["outputs"]["equal"] for cell in cells if cell["outputs"] is not None]
    return {
        "schema": SCHEMA,
        "name": experiment.name,
        "question": experiment.question,
        "started": results.started,
        "complete": results.complete,
        "interrupted": results.interrupted,
        "command": list(experiment.command),
        "plan": experiment.plan(),
        "outputs_equal": False if False in equal else (True if True in equal else None),
        "cells": cells,
        "facts": _facts(results),
        "spent_seconds": _spent(results),
        "warnings": diagnose(results),
    }


def _cell(results: Results, cell: CellResult, under_way: bool) -> dict[str, Any]:
    metrics = {metric.name: _metric(results, cell, metric, under_way) for metric in results.experiment.metrics}
    return {
        "condition": cell.condition.asdict(),
        "complete": cell.complete,
        "finished": cell.finished,
        "not_run": cell.not_run,
        "in_force": cell.in_force,
        "not_in_force": cell.not_in_force,
        "repeats": dict(cell.repeats),
        "parts": dict(cell.parts),
        "calibration": cell.calibration,
        "outputs": compare_outputs(cell, results.experiment.n_outputs) if cell.has_samples else None,
        "arms": [_arm(results, arm) for arm in cell.arms],
        "metrics": metrics,
        "warnings": diagnose_cell(results.experiment, cell, results.facts),
    }


def _metric(results: Results, cell: CellResult, metric: Metric, under_way: bool) -> dict[str, Any]:
    ratios = {arm.name: found for arm in cell.arms[1:] if (found := _ratio(results, cell, arm, metric, under_way))}
    noise = ratios.get(cell.noise.name) if cell.noise else None
    values = {arm.name: list(arm.values(metric).values()) for arm in cell.arms}
    return {
        "kind": metric.kind,
        "unit": metric.unit,
        "higher_is_better": metric.higher_is_better,
        "n_tokens": metric.n,
        "samples": values,
        "median": {name: median(of) if of else None for name, of in values.items()},
        "ratio": {
            name: {"estimate": found.estimate, "low": found.low, "high": found.high, "rounds": found.rounds}
            for name, found in ratios.items()
        },
        "verdict": {
            name: None if under_way or cell.not_in_force else verdict(found, noise, metric.higher_is_better)
            for name, found in ratios.items()
            if noise is None or name != AA_NAME
        },
        "costs": {arm.name: costs(arm, metric, results.facts) for arm in cell.arms},
    }


def _ratio(results: Results, cell: CellResult, arm: ArmResult, metric: Metric, under_way: bool) -> Ratio | None:
    pairs = round_ratios(arm.values(metric), cell.baseline.values(metric))
    if not pairs:
        return None
    return Ratio(ratio(pairs).estimate) if under_way else ratio(pairs)


def _arm(results: Results, result: ArmResult) -> dict[str, Any]:
    names = [arm.name for arm in results.experiment.arms]
    return {
        "name": result.name,
        "place": len(names) if result.is_noise else names.index(result.name),
        "engine": result.arm.engine,
        "settings": result.arm.describe(),
        "model": Path(result.arm.model).name if result.arm.model else None,
        "repeats_first": result.is_noise,
        "ended": result.ended,
        "facts": {name: value for name, value in result.facts.items() if name not in ("build", "thread_budget")},
        "idle_cpu_seconds": result.idle_cpu_seconds,
        "quality": result.quality,
        "no_quality": result.no_quality,
        "outputs": result.outputs,
        "raw": [sample.asdict() for sample in result.samples],
    }


def _facts(results: Results) -> dict[str, Any]:
    # An arm from another environment has another build; the others share the one that all facts speak of.
    arms = [arm for cell in results.cells for arm in cell.arms]
    builds = {arm.name: arm.facts["build"] for arm in arms if arm.arm.python and "build" in arm.facts}
    return results.facts | ({"builds": builds} if builds else {})


def _spent(results: Results) -> dict[str, float | None]:
    """Seconds; ``overhead`` is the share of the wall time that neither measured nor warmed up."""
    wall, measuring = results.spent.get("wall", 0.0), results.spent.get("measuring", 0.0)
    return dict(results.spent) | {"overhead": 1 - measuring / wall if wall > 0 else None}


def restore_results(record: Mapping[str, Any], experiment: Experiment) -> Results:
    """What a record holds, for `runner.resume()`."""
    results = Results.empty(experiment, record["started"], record["facts"])
    results.spent = {name: value for name, value in record["spent_seconds"].items() if name != "overhead"}
    for cell, kept in zip(results.cells, record["cells"], strict=True):
        cell.finished, cell.not_run, cell.in_force = kept["finished"], kept["not_run"], kept["in_force"]
        cell.not_in_force = kept["not_in_force"]
        cell.repeats, cell.parts, cell.calibration = kept["repeats"], kept["parts"], kept["calibration"]
        for arm, fields in zip(cell.arms, kept["arms"], strict=True):
            arm.facts, arm.ended, arm.outputs = fields["facts"], fields["ended"], fields["outputs"]
            arm.idle_cpu_seconds = fields["idle_cpu_seconds"]
            arm.quality, arm.no_quality = fields["quality"], fields["no_quality"]
            arm.samples = [Sample.from_dict(sample) for sample in fields["raw"]]
    return results


def check_writable(path: Path) -> None:
    """Raises LabError if no record can be written there, before an hour of measuring shows it."""
    if path.is_dir():
        raise LabError(f"{path} is a folder; name a file for the record.")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise LabError(f"No record can be written to {path}: {error}. Choose another place.") from error
    os.close(handle)
    Path(name).unlink()


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Writes the record whole or not at all: a reader, or a crash, never sees half of one."""
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)  # mkstemp makes files that only their owner may read
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
