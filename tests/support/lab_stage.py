"""A made-up build and world in which the commands of the lab run."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import typer
from lab_world import FACTS, World
from typer.testing import CliRunner, Result

import llamasmith
from llamasmith import hub, lab
from llamasmith.cli.ab import ab
from llamasmith.cli.lab import app as lab_app
from llamasmith.lab import machine
from llamasmith.lab.arm import AA_NAME
from llamasmith.lab.experiments import Here

if TYPE_CHECKING:
    import pytest

BUILT = ("patched", "upstream", "upstream-openmp")
RATES = {"patched": 120.0, "upstream": 100.0, "upstream-openmp": 100.0, AA_NAME: 100.0, "p": 120.0, "b": 130.0}


class Stage(World):
    """The world in which the command runs; `experiment` is what it was told to measure."""

    experiment: lab.Experiment | None = None

    def lab_run(self, experiment: lab.Experiment, **options: Any) -> lab.Results:
        self.experiment = experiment
        return self.run(experiment, **options)


def set_stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Puts the world in the place of the runner, and a made-up build in that of this one."""
    stage = Stage(dict(RATES), noise=(1.0, 1.001, 0.999))
    names: dict[str, object] = llamasmith.__dict__  # type: ignore[assignment]
    build = SimpleNamespace(engines=BUILT, backends=("cpu",), tools=())
    monkeypatch.setattr(hub, "resolve", Path)
    monkeypatch.setitem(names, "build_info", lambda: build)
    monkeypatch.setitem(names, "thread_budget", lambda: SimpleNamespace(budget=2, reasons=()))
    monkeypatch.setattr(Here, "look", lambda: Here(BUILT, ("cpu",), (), 2, modules=lambda name: False))
    monkeypatch.setattr(machine, "facts", lambda *args, **options: json.loads(json.dumps(FACTS)))
    monkeypatch.setattr(machine, "read_bandwidth", lambda facts: FACTS["roofline"])
    monkeypatch.setattr(lab, "run", stage.lab_run)
    monkeypatch.setattr(lab, "resume", stage.resume)
    return stage


def invoke(*words: object, app: typer.Typer | None = None) -> Result:
    if app is None:
        app = typer.Typer()
        app.command()(ab)
    environment = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner().invoke(app, [str(word) for word in words], env=environment)


def invoke_lab(*words: object) -> Result:
    return invoke(*words, app=lab_app)


def measured(stage: Stage, model: Path, file: Path, *words: object) -> dict[str, Any]:
    shown = invoke("-m", model, "--json", file, *words)
    assert shown.exit_code == 0, shown.output
    record: dict[str, Any] = json.loads(file.read_text())
    return record


def in_order(text: str) -> str:
    return " ".join(text.split())
