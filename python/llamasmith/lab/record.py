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
from .diagnose import diagnose
from .outputs import compare_outputs
from .stats import Ratio, ratio, round_ratios, verdict

if TYPE_CHECKING:
    from .plan import Metric
    from .results import ArmResult, Results, Sample

__all__ = ["SCHEMA", "build_record", "check_writable", "json_schema", "write_record"]

SCHEMA = "llamasmith.record/1"


def json_schema() -> dict[str, Any]:
    """The published JSON Schema of a record."""
    text = files(__package__).joinpath("record.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def build_record(results: Results, *, under_way: bool = False) -> dict[str, Any]:
    """The record of what was found. While the experiment is `under_way`, intervals and verdicts are left out."""
    experiment = results.experiment
    ratios = {metric.name: _ratios(results, metric.name, under_way) for metric in experiment.metrics}
    noise = {name: found.get(results.noise.name) if results.noise else None for name, found in ratios.items()}
    outputs = compare_outputs(results)
    return {
        "schema": SCHEMA,
        "started": results.started,
        "complete": results.complete,
        "interrupted": results.interrupted,
        "command": list(experiment.command),
        "arms": [_arm(arm) for arm in results.arms],
        "conditions": [{"name": "idle"}],
        "rounds": experiment.rounds,
        "warmup": experiment.warmup,
        "seed": experiment.seed,
        "repeats": dict(results.repeats),
        "calibration": results.calibration,
        "min_sample_seconds": experiment.min_sample_seconds,
        "metrics": {metric.name: _metric(results, metric, ratios[metric.name]) for metric in experiment.metrics},
        "verdict": {
            name: {
                arm.name: None if under_way else verdict(found[arm.name], noise[name])
                for arm in results.arms
                if arm.name in found and not arm.is_noise
            }
            for name, found in ratios.items()
        },
        "outputs_equal": outputs["equal"],
        "outputs": outputs,
        "raw": {arm.name: [_sample(sample) for sample in arm.samples] for arm in results.arms},
        "facts": _facts(results),
        "warnings": diagnose(results),
    }


def _ratios(results: Results, metric: str, under_way: bool) -> dict[str, Ratio]:
    baseline, found = results.baseline.rates(metric), {}
    for arm in results.arms[1:]:
        pairs = round_ratios(arm.rates(metric), baseline)
        if pairs:
            found[arm.name] = Ratio(median(pairs)) if under_way else ratio(pairs, results.experiment.seed)
    return found


def _metric(results: Results, metric: Metric, ratios: dict[str, Ratio]) -> dict[str, Any]:
    samples = {arm.name: arm.rates(metric.name) for arm in results.arms}
    return {
        "unit": metric.unit,
        "n_tokens": metric.n,
        "samples": samples,
        "warmup_samples": {arm.name: arm.rates(metric.name, warmup=True) for arm in results.arms},
        "median": {name: median(rates) if rates else None for name, rates in samples.items()},
        "ratio": {
            name: {"estimate": found.estimate, "low": found.low, "high": found.high} for name, found in ratios.items()
        },
    }


def _arm(result: ArmResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "engine": result.arm.engine,
        "settings": result.arm.describe(),
        "model": Path(result.arm.model).name if result.arm.model else None,
        "repeats_first": result.is_noise,
        "ended": result.ended,
        "facts": {name: value for name, value in result.facts.items() if name not in ("build", "thread_budget")},
    }


def _facts(results: Results) -> dict[str, Any]:
    # An arm from another environment has another build; the others share the one that all facts speak of.
    builds = {arm.name: arm.facts["build"] for arm in results.arms if arm.arm.python and "build" in arm.facts}
    return results.facts | ({"builds": builds} if builds else {})


def _sample(sample: Sample) -> dict[str, Any]:
    return {
        "metric": sample.metric,
        "round": sample.round,
        "position": sample.position,
        "warmup": sample.warmup,
        "tokens": sample.tokens,
        "seconds": list(sample.seconds),
        "cpu_seconds": sample.cpu_seconds,
        "waited_seconds": sample.waited_seconds,
        "quiet": sample.quiet,
        "disturbed_by": list(sample.disturbed_by),
    }


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
