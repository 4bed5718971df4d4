"""The commands of ``llamasmith lab`` in front of a made-up build and world."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from lab_stage import Stage, in_order, invoke, invoke_lab, measured, set_stage

from llamasmith import lab
from llamasmith.errors import LlamaError
from llamasmith.lab.arm import AA_NAME

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("scipy")
pytest.importorskip("psutil")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return set_stage(monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "small.gguf"
    file.write_bytes(b"GGUF")
    return file


def test_the_list_of_experiments(stage: Stage) -> None:
    shown = invoke_lab("list")
    assert shown.exit_code == 0
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80
    text = in_order(shown.stdout)
    assert "wait-policy Which way of waiting at barriers is the fastest" in text
    assert "Not here: it needs llama-bench: install with -C cmake.define.LLAMASMITH_TOOLS=ON." in text


def test_an_experiment_runs_by_its_name(stage: Stage, model: Path, tmp_path: Path) -> None:
    stage.rates |= dict.fromkeys(("_mm_pause", "sched_yield", "park", "adaptive"), 110.0)
    shown = invoke_lab("run", "wait-policy", "-m", model, "--rounds", 2, "--json", tmp_path / "r.json")
    assert shown.exit_code == 0, shown.output
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["name"] == "wait-policy"
    assert len(record["cells"]) == 6
    names = [arm["name"] for arm in record["cells"][1]["arms"]]
    assert names[-5:] == ["_mm_pause", "sched_yield", "park", "adaptive", AA_NAME]
    assert "Condition: neighbours=2" in shown.stdout


def test_an_experiment_under_other_conditions(stage: Stage, model: Path) -> None:
    invoke_lab("run", "engines", "-m", model, "--condition", "idle", "--condition", "neighbours=1,quota=2")
    assert stage.experiment is not None
    assert stage.experiment.conditions == (lab.IDLE, lab.Condition(neighbours=1, quota=2.0))


def test_an_experiment_with_other_metrics_and_limits(stage: Stage, model: Path) -> None:
    invoke_lab("run", "engines", "-m", model, "--metric", "tg16", "--metric", "pp8", "--limit-seconds", 3)
    assert stage.experiment is not None
    assert [metric.name for metric in stage.experiment.metrics] == ["tg16", "pp8"]
    assert stage.experiment.limit_seconds == 3.0


def test_where_arithmetic_differs_a_text_is_asked_for(stage: Stage, model: Path) -> None:
    stage.rates |= {"as in the file": 100.0, "rearranged": 110.0}
    assert "with --text FILE" in invoke_lab("run", "repack", "-m", model, "--rounds", 1).stderr
    assert "--text" not in invoke_lab("run", "engines", "-m", model, "--rounds", 1).stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run",), "Which experiment?"),
        (("run", "engine", "-m", "x"), "Did you mean 'engines'?"),
        (("run", "openblas", "-m", "x"), "cannot run here: this build has no backend openblas, only cpu."),
        (("run", "engines", "-m", "x", "--condition", "busy"), "The condition 'busy'"),
        (("run", "engines", "--resume", "r.json"), "leave out the name"),
        (("run", "engines", "-m", "x", "--metric", "tg"), "pp128, tg64 or ttft128"),
        (("run", "engines", "-m", "x", "--limit-seconds", "0"), "at least 0.2 s"),
        (("show", "missing.json"), "cannot be read"),
        (("required", "missing.json"), "cannot be read"),
        (("compare", "missing.json"), "cannot be read"),
        (("export", "missing.json"), "cannot be read"),
    ],
)
def test_bad_words_of_the_lab_are_told(stage: Stage, words: tuple[str, ...], says: str) -> None:
    shown = invoke_lab(*words)
    assert shown.exit_code == 1
    assert isinstance(shown.exception, LlamaError)
    assert says in str(shown.exception)
    assert stage.experiment is None


def test_a_record_is_shown_as_the_run_has_shown_it(stage: Stage, model: Path, tmp_path: Path) -> None:
    ran = invoke("-m", model, "--json", tmp_path / "r.json")
    shown = invoke_lab("show", tmp_path / "r.json")
    assert shown.exit_code == 0
    assert ran.stdout.startswith(shown.stdout)


def test_what_is_required_of_an_experiment(stage: Stage, model: Path, tmp_path: Path) -> None:
    file, names = tmp_path / "r.json", ("spin", "yield", "park", "1 thread", "a thread for each CPU", "its own choice")
    stage.rates |= dict.fromkeys(names, 90.0)
    ran = invoke_lab("run", "threads", "-m", model, "--rounds", 5, "--limit-seconds", 2, "--json", file)
    assert ran.exit_code == 0, ran.output
    record = json.loads(file.read_text())
    assert [arm["name"] for arm in record["cells"][-1]["arms"]] == ["upstream-openmp", "upstream", "patched", AA_NAME]
    shown = invoke_lab("required", file)
    assert shown.exit_code == 0, shown.output
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80
    text = in_order(shown.stdout)
    assert text.count("after work < 0.5% of a CPU") == 1  # which is of no metric
    assert "idle >= 1.00 x the better upstream, low 1.20 [1.20, 1.20] met end >= 0.98 of upstream-openmp" in text
    assert "its own choice: >= 1.15 x" in text
    assert text.count("Not measured: sessions=2: The sessions did not work at the same time.") == 1
    assert {"met", "missed", "-"} <= {line.split()[-1] for line in shown.stdout.splitlines() if line.strip()}


def test_an_experiment_of_which_nothing_is_required(stage: Stage, model: Path, tmp_path: Path) -> None:
    measured(stage, model, tmp_path / "r.json")
    shown = invoke_lab("required", tmp_path / "r.json")
    assert shown.exit_code == 1
    assert "Nothing is required of 'ab'" in str(shown.exception)


def test_records_side_by_side(stage: Stage, model: Path, tmp_path: Path) -> None:
    arms = ("--arm", "upstream", "--arm", "patched,name=p")
    measured(stage, model, tmp_path / "1.json", *arms)
    stage.rates["p"] = 240.0
    measured(stage, model, tmp_path / "2.json", *arms)
    shown = invoke_lab("compare", tmp_path / "1.json", tmp_path / "2.json")
    assert shown.exit_code == 0, shown.output
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert any(row[:2] == ["p", "2"] and row[-3].startswith("2.0") for row in rows)
    measured(stage, model, tmp_path / "3.json", *arms, "--seed", 1)
    shown = invoke_lab("compare", tmp_path / "1.json", tmp_path / "3.json")
    assert shown.exit_code == 1
    assert "plan.seed: 0 here, 1 there" in str(shown.exception)


def test_a_record_is_exported(stage: Stage, model: Path, tmp_path: Path) -> None:
    measured(stage, model, tmp_path / "r.json")
    assert "| patched |" in invoke_lab("export", tmp_path / "r.json").stdout
    assert invoke_lab("export", tmp_path / "r.json", "--to", "csv").stdout.startswith("condition,arm,engine,")
    invoke_lab("export", tmp_path / "r.json", "--to", "html", "-o", tmp_path / "r.html")
    assert "<html" in (tmp_path / "r.html").read_text()
