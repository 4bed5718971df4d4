"""``llamasmith ab`` in front of a made-up build, hub and runner."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jsonschema
import pytest
import typer
from typer.testing import CliRunner, Result

import llamasmith
from llamasmith import lab
from llamasmith.cli.ab import ab
from llamasmith.errors import InvalidOption, LabError, MissingDependency
from llamasmith.lab.results import Sample

pytest.importorskip("scipy")
pytest.importorskip("psutil")

BUILT = ("patched", "upstream", "upstream-openmp")


class Stage:
    """Stands in for the runner: every arm gets the values of its engine."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {"patched": 120.0, "upstream": 100.0, "upstream-openmp": 100.0}
        self.tokens: dict[str, list[int]] = {}
        self.interrupted_after: int | None = None
        self.experiment: lab.Experiment | None = None
        self.crash = False
        self.saved = 0

    def run(self, experiment: lab.Experiment, *, facts: Any, on_event: Any, save: Any) -> lab.Results:
        self.experiment = experiment
        arms = [lab.results.ArmResult(arm) for arm in experiment.all_arms()]
        found = lab.Results(experiment, arms, "2026-01-02T00:00:00+00:00", facts=facts)
        found.facts |= {"build": {}, "thread_budget": {"budget": 2}}
        found.facts["machine"]["load_average"] = [0.0, 0.0, 0.0]
        count = experiment.rounds if self.interrupted_after is None else self.interrupted_after
        found.interrupted, found.complete = self.interrupted_after is not None, self.interrupted_after is None
        for index, arm in enumerate(arms):
            arm.outputs = {"tokens": self.tokens.get(arm.name, [1, 2]), "logits_sha256": "0"}
            on_event(lab.Progress("start", index + 1, len(arms), arm.name))
            for metric in experiment.metrics:
                for number in range(count):
                    rate = self.rates[arm.arm.engine] * (1 + 0.001 * ((number + index) % 3))
                    arm.samples.append(Sample(metric.name, number, 0, False, 64, (64 / rate,), 1.0, 0.1, True))
                    on_event(lab.Progress("measure", number, count, arm.name, metric.name, rate, 65.0))
        if self.crash:
            arms[-1].ended, found.complete = "It was ended by signal 11.", False
        on_event(lab.ArmEnded("nobody", "The arm [bold] ended."))
        save(found)
        return found


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    hub = ModuleType("llamasmith.hub")
    hub.resolve = Path
    monkeypatch.setitem(sys.modules, "llamasmith.hub", hub)
    names: dict[str, object] = llamasmith.__dict__  # type: ignore[assignment]
    monkeypatch.setitem(names, "hub", hub)
    monkeypatch.setitem(names, "build_info", lambda: SimpleNamespace(engines=BUILT))
    monkeypatch.setitem(names, "thread_budget", lambda: SimpleNamespace(budget=2, reasons=()))
    monkeypatch.setattr(lab, "run", stage.run)
    return stage


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "small.gguf"
    file.write_bytes(b"GGUF")
    return file


def invoke(*words: object) -> Result:
    app = typer.Typer()
    app.command()(ab)
    environment = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner().invoke(app, [str(word) for word in words], env=environment)


def test_the_table_reads_well_in_eighty_columns(stage: Stage, model: Path) -> None:
    shown = invoke("-m", model)
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert max(len(line) for line in lines if not line.startswith("small.gguf")) <= 80
    assert "\x1b" not in shown.output
    assert "The arm [bold] ended." in shown.output
    rows = [line.split() for line in lines]
    assert ["tg64,", "tokens/s", "median", "ratio", "95%", "interval", "verdict"] in rows
    assert any(row[:1] == ["patched"] and row[-1] == "faster" for row in rows)
    assert any(row[:1] == ["upstream-openmp"] and row[-1] == "baseline" for row in rows)
    assert any(row[:1] == ["A/A"] and row[-2:] == ["noise", "floor"] for row in rows)
    text = " ".join(" ".join(row) for row in rows)
    assert "outputs equal: yes (64 greedy tokens; logits bit-identical)" in text
    assert "On this machine patched generates 1.20x as fast as upstream-openmp [" in text
    assert "upstream generates 1.00x as fast" in text
    assert "no difference seen." in text


def test_by_default_all_engines_and_the_thread_budget(stage: Stage, model: Path) -> None:
    invoke("-m", model)
    assert stage.experiment is not None
    assert [arm.name for arm in stage.experiment.arms] == ["upstream-openmp", "upstream", "patched"]
    assert {arm.settings["n_threads"] for arm in stage.experiment.arms} == {2}
    assert stage.experiment.metrics == (lab.Metric("pp", 128), lab.Metric("tg", 64))
    assert (stage.experiment.rounds, stage.experiment.warmup, stage.experiment.aa) == (5, 1, True)


def test_words_become_the_experiment(stage: Stage, model: Path) -> None:
    invoke(
        *("-m", model, "--arm", "upstream", "--arm", "patched,name=p,t=3,wait=park", "-t", 4, "-p", 0, "-n", 8),
        *("--rounds", 7, "--warmup", 2, "--flash-attn", "off", "--seed", 9, "--no-aa"),
    )
    plan = stage.experiment
    assert plan is not None
    assert [(arm.name, arm.settings["n_threads"], arm.settings.get("wait")) for arm in plan.arms] == [
        ("upstream", 4, None),
        ("p", 3, "park"),
    ]
    assert plan.metrics == (lab.Metric("tg", 8),)
    assert (plan.rounds, plan.warmup, plan.seed, plan.aa) == (7, 2, 9, False)
    assert plan.arms[0].settings["flash_attn"] == "off"


def test_the_record_is_written(stage: Stage, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    shown = invoke("-m", model, "--json", file)
    assert shown.exit_code == 0
    record = json.loads(file.read_text())
    assert record["schema"] == "llamasmith.record/1"
    assert record["complete"]
    assert record["verdict"]["tg"] == {"upstream": "no difference seen", "patched": "faster"}


def test_different_outputs_are_said_loudly(stage: Stage, model: Path) -> None:
    stage.tokens["patched"] = [1, 3]
    shown = invoke("-m", model)
    assert shown.exit_code == 3
    assert "OUTPUTS DIFFER" in shown.stdout
    assert "patched differs from the first arm at token 2" in shown.stdout


def test_a_crashed_arm_is_an_error_after_the_table(stage: Stage, model: Path) -> None:
    stage.crash = True
    shown = invoke("-m", model, "--arm", "upstream", "--arm", "patched", "--no-aa")
    assert shown.exit_code == 1
    assert "warning: patched ended early: It was ended by signal 11." in shown.stdout


def test_ctrl_c_shows_and_writes_what_there_is(stage: Stage, model: Path, tmp_path: Path) -> None:
    stage.interrupted_after = 2
    shown = invoke("-m", model, "--json", tmp_path / "r.json")
    assert shown.exit_code == 130
    assert "Interrupted" in shown.stdout
    assert json.loads((tmp_path / "r.json").read_text())["interrupted"] is True
    stage.interrupted_after = 0
    shown = invoke("-m", model)
    assert shown.exit_code == 130
    assert "before anything was measured" in shown.stderr


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("--arm", "pached"), InvalidOption, "Did you mean 'patched'?"),
        (("--rounds", "0"), InvalidOption, "rounds is 0"),
        (("-p", "0", "-n", "0"), InvalidOption, "Nothing to measure"),
        (("--json", "missing/r.json"), LabError, "Choose another place"),
    ],
)
def test_bad_words_are_told_before_anything_runs(
    stage: Stage, model: Path, words: tuple[str, ...], error: type[Exception], says: str
) -> None:
    shown = invoke("-m", model, *words)
    assert shown.exit_code == 1
    assert isinstance(shown.exception, error)
    assert says in str(shown.exception)
    assert stage.experiment is None


def test_the_process_that_decides_loads_no_compiled_code(stage: Stage, model: Path) -> None:
    before = set(sys.modules)
    assert invoke("-m", model).exit_code == 0
    assert "llamasmith._core" not in set(sys.modules) - before


def test_without_the_extra_the_command_to_get_it(stage: Stage, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    shown = invoke("-m", model)
    assert isinstance(shown.exception, MissingDependency)
    assert 'pip install "llamasmith[bench]"' in str(shown.exception)


def test_real_engines_on_a_tiny_model(tiny_path: Path, tmp_path: Path) -> None:
    """The whole way once: workers, engines, pipe, record. The numbers mean nothing."""
    file = tmp_path / "record.json"
    shown = invoke("-m", tiny_path, "-t", 1, "-p", 8, "-n", 8, "--rounds", 1, "--warmup", 0, "--no-aa", "--json", file)
    assert shown.exit_code == 0, shown.output
    record = json.loads(file.read_text())
    jsonschema.validate(record, lab.json_schema())
    assert record["complete"]
    assert {arm["engine"] for arm in record["arms"]} == set(llamasmith.build_info().engines)
    assert all(arm["engine"] == arm["facts"]["engine"] for arm in record["arms"])
    if len(record["arms"]) > 1:
        assert record["outputs_equal"] is True
        assert record["outputs"]["logits_identical"] is True
    for samples in record["metrics"]["tg"]["samples"].values():
        assert len(samples) == 1
