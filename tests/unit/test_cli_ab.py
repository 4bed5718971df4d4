"""``llamasmith ab`` in front of a made-up build and world; and once with everything real."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import jsonschema
import pytest
from lab_stage import Stage, in_order, invoke, invoke_lab, measured, set_stage
from lab_world import FACTS

import llamasmith
from llamasmith import lab
from llamasmith.errors import InvalidOption, LabError, LlamaError, MissingDependency
from llamasmith.lab import machine
from llamasmith.lab.process import WorkerDied

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


def test_the_table_reads_well_in_eighty_columns(stage: Stage, model: Path) -> None:
    shown = invoke("-m", model)
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert max(len(line) for line in lines if not line.startswith("m.gguf")) <= 80
    assert "\x1b" not in shown.output
    rows = [line.split() for line in lines]
    assert ["tg64,", "tokens/s", "median", "ratio", "95%", "interval", "verdict"] in rows
    assert any(row[:1] == ["patched"] and row[-1] == "faster" for row in rows)
    assert any(row[:1] == ["upstream-openmp"] and row[-1] == "baseline" for row in rows)
    assert any(row[:1] == ["A/A"] and row[-2:] == ["noise", "floor"] for row in rows)
    text = in_order(shown.stdout)
    assert "outputs equal: yes (64 greedy tokens; logits bit-identical)" in text
    assert "On this machine patched generates 1.20x as fast as upstream-openmp [" in text
    assert "upstream generates 1.00x as fast" in text
    assert "no difference seen." in text


def test_by_default_all_engines_and_the_thread_budget(stage: Stage, model: Path) -> None:
    invoke("-m", model)
    plan = stage.experiment
    assert plan is not None
    assert [arm.name for arm in plan.arms] == ["upstream-openmp", "upstream", "patched"]
    assert plan.defaults["n_threads"] == 2
    assert plan.metrics == (lab.Metric("pp", 128), lab.Metric("tg", 64))
    assert plan.conditions == (lab.IDLE,)
    assert (plan.rounds, plan.warmup, plan.aa) == (10, 2, True)


def test_words_become_the_experiment(stage: Stage, model: Path) -> None:
    text = model.with_name("text.txt")
    text.write_text("Once upon a time.")
    invoke(
        *("-m", model, "--arm", "upstream", "--arm", "patched,name=p,t=3,wait=park", "-t", 4, "-p", 0, "-n", 8),
        *("--rounds", 7, "--warmup", 3, "--flash-attn", "off", "--seed", 9, "--no-aa", "--ttft", 16),
        *("--neighbours", 2, "--oversubscribe", 2, "--quota", 1.5, "--sessions", 2, "--text", text),
    )
    plan = stage.experiment
    assert plan is not None
    assert [(arm.name, arm.settings.get("n_threads"), arm.settings.get("wait")) for arm in plan.arms] == [
        ("upstream", None, None),
        ("p", 3, "park"),
    ]
    assert plan.metrics == (lab.Metric("ttft", 16), lab.Metric("tg", 8))
    assert plan.conditions == (lab.Condition(neighbours=2, oversubscribe=2, quota=1.5, sessions=2),)
    assert (plan.rounds, plan.warmup, plan.seed, plan.aa) == (7, 3, 9, False)
    assert (plan.defaults["n_threads"], plan.defaults["flash_attn"]) == (4, "off")
    assert plan.quality == lab.Quality(text)


def test_the_record_is_written(stage: Stage, model: Path, tmp_path: Path) -> None:
    record = measured(stage, model, tmp_path / "record.json")
    jsonschema.validate(record, lab.json_schema())
    assert record["complete"]
    assert record["plan"]["model"] == str(model)
    verdicts = record["cells"][0]["metrics"]["tg64"]["verdict"]
    assert verdicts == {"upstream": "no difference seen", "patched": "faster"}


def test_different_outputs_are_said_loudly(stage: Stage, model: Path) -> None:
    stage.tokens["patched"] = [0, 3]
    shown = invoke("-m", model)
    assert shown.exit_code == 3
    assert "OUTPUTS DIFFER" in shown.stdout
    assert "patched differs from the first arm at token 2" in shown.stdout


def test_a_crashed_arm_is_an_error_after_the_table(stage: Stage, model: Path) -> None:
    stage.disasters["patched", 20] = WorkerDied("It was [bold] ended by signal 11.")
    shown = invoke("-m", model, "--arm", "upstream", "--arm", "patched", "--no-aa")
    assert shown.exit_code == 1
    assert "warning: patched ended early: It was [bold] ended by signal 11." in shown.stdout
    assert "It was [bold] ended by signal 11." in shown.stderr


def test_a_condition_that_cannot_be_created_is_told(stage: Stage, model: Path) -> None:
    stage.cannot["quota=1"] = "No quota can be set here."
    shown = invoke("-m", model, "--quota", 1)
    assert isinstance(shown.exception, LabError)
    assert "No quota can be set here." in str(shown.exception)


def test_ctrl_c_shows_and_writes_what_there_is_and_resume_goes_on(stage: Stage, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    stage.disasters["upstream", 12] = KeyboardInterrupt()
    shown = invoke("-m", model, "--json", file)
    assert shown.exit_code == 130
    assert "Interrupted" in shown.stdout
    assert json.loads(file.read_text())["interrupted"] is True
    stage.disasters.clear()
    shown = invoke("--resume", file)
    assert shown.exit_code == 0, shown.output
    record = json.loads(file.read_text())
    assert record["complete"] is True
    assert all(len(values) == 10 for values in record["cells"][0]["metrics"]["tg64"]["samples"].values())
    shown = invoke("--resume", file)
    assert "is complete: there is nothing to go on with" in in_order(shown.stderr)
    assert json.loads(file.read_text())["cells"] == record["cells"]


def test_a_run_is_not_gone_on_with_elsewhere(
    stage: Stage, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "r.json"
    stage.disasters["upstream", 12] = KeyboardInterrupt()
    invoke("-m", model, "--json", file)
    before = file.read_bytes()
    monkeypatch.setattr(machine, "facts", lambda *args, **options: FACTS | {"build": {"pin": "q"}})
    shown = invoke("--resume", file)
    assert isinstance(shown.exception, LabError)
    assert "build.pin" in str(shown.exception)
    assert file.read_bytes() == before


def test_ctrl_c_before_anything_was_measured(stage: Stage, model: Path, tmp_path: Path) -> None:
    stage.disasters["upstream-openmp", 0] = KeyboardInterrupt()
    file = tmp_path / "r.json"
    shown = invoke("-m", model, "--json", file)
    assert shown.exit_code == 130
    assert "before anything was measured" in shown.stderr
    assert not file.exists()


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("--arm", "pached"), InvalidOption, "Did you mean 'patched'?"),
        (("--arm", "upstream", "--arm", "upstream,name=again"), InvalidOption, "they cannot differ"),
        (("--rounds", "0"), InvalidOption, "rounds is 0"),
        (("-p", "0", "-n", "0"), InvalidOption, "Nothing to measure"),
        (("--neighbours", "-1"), InvalidOption, "neighbours is -1"),
        (("--quota", "0"), InvalidOption, "quota is 0"),
        (("--json", "missing/r.json"), LabError, "Choose another place"),
        (("--html", "missing/r.html"), LabError, "Choose another place"),
        (("--text", "missing.txt"), LabError, "cannot be read"),
        (("--resume", "r.json"), InvalidOption, "leave out -m"),
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


def test_a_busy_machine_is_told_before_anything_is_measured(
    stage: Stage, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "Other programs" not in invoke("-m", model).stderr
    busy = FACTS | {"machine": {"busy_cpus": 1.5}}
    monkeypatch.setattr(machine, "facts", lambda *args, **options: busy)
    shown = invoke("-m", model)
    assert in_order(shown.stderr).startswith("warning: Other programs were using 1.50 CPUs when this began.")
    assert "Other programs were using 1.50 CPUs" in in_order(shown.stdout)


def test_without_a_model_it_asks_for_one(stage: Stage) -> None:
    assert "Which model?" in str(invoke().exception)
    assert "Which model?" in str(invoke_lab("run", "engines").exception)


def test_a_model_that_is_not_there_is_told_before_anything_runs(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    for words in (("-m", tmp_path / "missing.gguf"), ("-m", "smollm2-135n")):
        shown = invoke(*words)
        assert isinstance(shown.exception, LlamaError)
        assert str(words[1]) in str(shown.exception)


def test_the_process_that_decides_loads_no_compiled_code(stage: Stage, model: Path) -> None:
    before = set(sys.modules)
    assert invoke("-m", model).exit_code == 0
    assert "llamasmith._core" not in set(sys.modules) - before


def test_without_the_extra_the_command_to_get_it(stage: Stage, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    shown = invoke("-m", model)
    assert isinstance(shown.exception, MissingDependency)
    assert 'pip install "llamasmith[bench]"' in str(shown.exception)


# Once with everything real. The numbers mean nothing.


def test_real_engines_on_a_tiny_model(tiny_path: Path, tmp_path: Path) -> None:
    """The whole way: workers, engines, pipe, record, report."""
    file, text = tmp_path / "record.json", tmp_path / "text.txt"
    text.write_text("the world and hello a b c " * 20)
    shown = invoke(
        *("-m", tiny_path, "-t", 1, "-p", 8, "-n", 8, "--ttft", 8, "--rounds", 1, "--warmup", 0, "--no-aa"),
        *("--sample-seconds", 0.2, "--idle-seconds", 0.1, "--text", text, "--json", file),
        *("--html", tmp_path / "report.html"),
    )
    assert shown.exit_code == 0, shown.output
    record = json.loads(file.read_text())
    jsonschema.validate(record, lab.json_schema())
    assert record["complete"]
    (cell,) = record["cells"]
    assert {arm["engine"] for arm in cell["arms"]} == set(llamasmith.build_info().engines)
    for arm in cell["arms"]:
        assert arm["engine"] == arm["facts"]["engine"]
        assert arm["quality"]["kl_mean"] == 0.0
        assert arm["quality"]["same_top"] == 1.0
        assert arm["facts"]["bytes_per_token"] > 0
        assert arm["idle_cpu_seconds"] >= 0
    if len(cell["arms"]) > 1:
        assert record["outputs_equal"] is True
        assert cell["outputs"]["logits_identical"] is True
    for samples in cell["metrics"]["tg8"]["samples"].values():
        assert len(samples) == 1
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


@pytest.mark.parametrize("condition", ["neighbours=1", "sessions=2", "oversubscribe=2"])
def test_real_conditions_on_a_tiny_model(tiny_path: Path, tmp_path: Path, condition: str) -> None:
    name, _, value = condition.partition("=")
    file = tmp_path / "record.json"
    shown = invoke(
        *("-m", tiny_path, "--arm", "patched,wait=yield", "-p", 0, "-n", 64, "--rounds", 1, "--warmup", 0, "--no-aa"),
        *("--sample-seconds", 0.2, "--idle-seconds", 0, f"--{name}", value, "--json", file),
    )
    assert shown.exit_code == 0, shown.output
    (cell,) = json.loads(file.read_text())["cells"]
    assert cell["condition"]["name"] == condition
    assert cell["not_run"] is None
