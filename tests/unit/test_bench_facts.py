"""Facts of benchmark runs, and that runs with other facts are not compared."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "tests" / "bench"


def load(name: str) -> Any:
    return load_script(BENCH / f"{name}.py")


@pytest.fixture(scope="module")
def facts() -> Any:
    return load("facts")


@pytest.fixture(scope="module")
def figures() -> Any:
    return load("figures")


def test_facts_are_what_decides_speed_and_nothing_that_changes_by_itself(facts: Any) -> None:
    here = facts.collect({"LLAMASMITH_WAIT": "park", "LLAMASMITH_CACHE": "/somewhere", "HOME": "/root"})
    assert {"machine", "model", "packages", "build", "engine", "environment"} == set(here)
    assert {"cpu_model", "cpus_logical", "kernel", "governor", "affinity", "cgroup_quota_cpus"} <= set(here["machine"])
    assert {"busy_cpus", "load_average"}.isdisjoint(here["machine"])
    assert {"pin", "series_digest", "compiler", "cpu_flags", "version"} <= set(here["build"])
    assert len(here["model"]["sha256"]) == 64
    assert here["environment"] == {"LLAMASMITH_WAIT": "park"}
    assert facts.differing(here, json.loads(json.dumps(facts.collect({"LLAMASMITH_WAIT": "park"})))) == []


def test_machine_info_loses_what_no_two_runs_share(facts: Any) -> None:
    info = {"node": "box", "system": "Linux", "cpu": {"brand_raw": "A", "hz_actual": (1, 0), "hz_advertised": (2, 0)}}
    facts.add_facts(info, {"engine": "patched"})
    assert info == {
        "system": "Linux",
        "cpu": {"brand_raw": "A", "hz_advertised": (2, 0)},
        "llamasmith": {"engine": "patched"},
    }


def test_no_cpu_is_no_error(facts: Any) -> None:
    info: dict[str, Any] = {"cpu": None}
    facts.add_facts(info, {})
    assert info == {"cpu": {}, "llamasmith": {}}


def test_refusal_names_each_difference_and_the_way_out(facts: Any) -> None:
    here = {"llamasmith": {"build": {"pin": "aaa", "cpu_flags": ("avx",)}, "engine": "patched"}, "release": "6.1"}
    there = {"llamasmith": {"build": {"pin": "bbb", "cpu_flags": ["avx"]}, "engine": "patched"}}
    text = facts.refusal(facts.differing(here, there))
    assert "llamasmith.build.pin: aaa here, bbb there" in text
    assert "release: 6.1 here, nothing there" in text
    assert "cpu_flags" not in text
    assert "engine:" not in text
    assert "llamasmith ab" in text


def test_alternate_turns_round_every_other_time(figures: Any) -> None:
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return float(len(order))

    found = figures.alternate({"a": lambda: measure("a"), "b": lambda: measure("b")}, 3)
    assert "".join(order) == "abbaab"
    assert found == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}


class Benchmark:
    def __init__(self, name: str, enabled: bool = True) -> None:
        self.name = name
        self.enabled = enabled
        self.extra_info: dict[str, Any] = {}


@pytest.mark.parametrize(("seconds", "rounds"), [(0.001, 20), (0.0, 20), (0.5, 8), (60.0, 3)])
def test_rounds_are_fewer_where_one_takes_long(figures: Any, seconds: float, rounds: int) -> None:
    now = 0.0

    def once() -> None:
        nonlocal now
        now += seconds

    assert figures.rounds_for(Benchmark("test"), once, most=20, clock=lambda: now) == rounds


def test_nothing_is_repeated_where_nothing_is_measured(figures: Any) -> None:
    assert figures.rounds_for(Benchmark("test", enabled=False), pytest.fail, most=20) == 1


def test_figures_are_kept_with_all_values(figures: Any) -> None:
    many, single, none = Benchmark("test_b[x]"), Benchmark("test_a"), Benchmark("test_c")
    figures.keep(many, "barrier", "ns", [300.0, 100.0, 200.0, 1000.0])
    figures.keep(single, "barrier", "ns", [7.0])
    none.extra_info["tokens"] = 3
    assert many.extra_info["barrier"]["values"] == [300.0, 100.0, 200.0, 1000.0]
    assert many.extra_info["barrier"]["median"] == 250.0
    first, second = figures.lines([many, single, none])
    assert first.split() == ["a", "barrier", "7", "ns"]
    assert second.split() == ["b[x]", "barrier", "250", "ns", "[125", "..", "825]"]


def run_bench(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    # One benchmark that needs no real model: what counts here is what happens around it.
    command = [sys.executable, "-m", "pytest", str(BENCH), "-k", "test_context and tiny", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *map(str, words)], capture_output=True, text=True, check=False, cwd=ROOT, timeout=300, **options
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("runs") / "run.json"
    done = run_bench("--benchmark-enable", f"--benchmark-json={file}")
    assert done.returncode == 0, done.stdout + done.stderr
    return file


def test_the_same_machine_and_build_compare(saved: Path) -> None:
    done = run_bench("--benchmark-enable", f"--benchmark-compare={saved}", "--benchmark-sort=name")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(NOW)" in done.stdout
    assert "arning" not in done.stdout + done.stderr


def test_plain_pytest_benchmark_takes_the_file(saved: Path) -> None:
    copy = shutil.copy(saved, saved.with_name("copy.json"))
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(saved), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=saved.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_context[tiny]" in done.stdout


@pytest.mark.parametrize("table", ["build", "machine"])
def test_another_build_or_machine_is_refused_before_anything_is_measured(
    saved: Path, tmp_path: Path, table: str
) -> None:
    run = json.loads(saved.read_text(encoding="utf-8"))
    name = {"build": "series_digest", "machine": "cpu_model"}[table]
    run["machine_info"]["llamasmith"][table][name] = "another one"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(run), encoding="utf-8")
    done = run_bench("--benchmark-enable", f"--benchmark-compare={other}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"llamasmith.{table}.{name}: " in done.stderr
    assert "another one there" in done.stderr
    assert done.stderr.count(" here, ") == 1
    assert "collected" not in done.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{not json", "holds no run of pytest-benchmark"),
        ("[]", "holds no run of pytest-benchmark"),
        ('{"benchmarks": []}', "llamasmith: {"),  # a run, but nobody knows of what
    ],
)
def test_what_is_no_run_of_ours_is_refused(tmp_path: Path, content: str, message: str) -> None:
    other = tmp_path / "other.json"
    other.write_text(content, encoding="utf-8")
    done = run_bench("--benchmark-enable", f"--benchmark-compare={other}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in done.stderr
    assert "collected" not in done.stdout


def test_files_are_looked_at_before_anything_is_measured(tmp_path: Path) -> None:
    absent = tmp_path / "absent" / "run.json"
    for option, message in (("json", "No record can be written"), ("compare", "There is no saved run")):
        done = run_bench("--benchmark-enable", f"--benchmark-{option}={absent}")
        assert done.returncode == pytest.ExitCode.USAGE_ERROR
        assert message in done.stderr
        assert "collected" not in done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """ci/bench in a checkout of its own, whose Python says what it is asked to run."""
    (tmp_path / "ci").mkdir()
    for name in ("bench", "python.sh"):
        shutil.copy(ROOT / "ci" / name, tmp_path / "ci" / name)
    (tmp_path / "ci" / "environment.py").write_text("print('environment')\n", encoding="utf-8")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nfor word in "$@"; do echo "<$word>"; done\nexit "${STATUS:-0}"\n', encoding="utf-8")
    python.chmod(0o755)
    return tmp_path


def ci_bench(checkout: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    elsewhere = checkout / "else where"
    elsewhere.mkdir(exist_ok=True)
    return subprocess.run(
        [checkout / "ci" / "bench", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=elsewhere,
        env={**os.environ, "PYTHON": sys.executable, **env},
    )


def test_command_passes_words_on_and_gives_back_the_status(checkout: Path) -> None:
    done = ci_bench(checkout, "-k", "barrier or stream", STATUS="3")
    assert done.returncode == 3
    words = done.stdout.splitlines()
    assert words[0] == "environment"
    assert words[1:5] == ["<-m>", "<pytest>", "<tests/bench>", "<--benchmark-enable>"]
    assert words[-2:] == ["<-k>", "<barrier or stream>"]
    assert any(re.fullmatch(r"<--benchmark-json=build/benchmarks/[-0-9T]+\.json>", word) for word in words)
    assert (checkout / "build" / "benchmarks").is_dir()


def test_command_takes_files_from_where_it_was_called(checkout: Path) -> None:
    (checkout / "else where").mkdir()
    (checkout / "else where" / "old.json").write_text("{}", encoding="utf-8")
    done = ci_bench(checkout, "--compare", "old.json", "--save", "old.json")
    assert done.returncode == 0, done.stderr
    file = checkout / "else where" / "old.json"
    assert {f"<--benchmark-compare={file}>", f"<--benchmark-json={file}>"} <= set(done.stdout.splitlines())
    assert done.stdout.splitlines()[-1] == f"Saved: {file}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--compare",), "--compare needs the name of a file."),
        (("--save",), "--save needs the name of a file."),
        (("--compare", "absent.json"), "there is no saved run"),
    ],
)
def test_command_refuses_before_the_environment_is_made(checkout: Path, words: tuple[str, ...], message: str) -> None:
    done = ci_bench(checkout, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_command_tells_how_it_is_used(checkout: Path) -> None:
    done = ci_bench(checkout, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Makes the environment")
    assert "--compare FILE" in done.stdout
    assert "#" not in done.stdout
