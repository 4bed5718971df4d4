"""The diagnosis, on builds and machines that are not there: what is found, and what it says to do."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from llamasmith import doctor
from llamasmith.build import BuildInfo, Patch
from llamasmith.doctor import BackendState, Diagnosis, Trial, examine, try_engine
from llamasmith.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WAITS = ("spin", "yield", "park")
INFO = BuildInfo(
    version="1.2.3",
    pin="a" * 40,
    tree_digest="b" * 64,
    series_digest="c" * 64,
    patches=(Patch("threading-wait-policy.patch", "how a thread waits", "cpu-engine", "series", "d" * 64),),
    skipped=(),
    engines=("patched", "upstream"),
    left_out={},
    backends=("cpu",),
    cpu="native",
    cpu_flags=("avx2", "fma"),
    compiler={"name": "GNU 12"},
    requested={},
    tools=(),
)


def loads(name: str, environment: Mapping[str, str]) -> Trial:
    return Trial(f"/somewhere/{name}.so", ("AVX2", "FMA"), WAITS, chooses_wait=name == "patched")


def dies(name: str, environment: Mapping[str, str]) -> Trial:
    return Trial(error="it ended with SIGILL") if name == "upstream" else loads(name, environment)


def no_backends(environment: Mapping[str, str], *, progress: object) -> tuple[BackendState, ...]:
    return ()


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nflags\t\t: fpu sse2 avx2 fma\n", encoding="utf-8")
    return tmp_path


def diagnose(
    monkeypatch: pytest.MonkeyPatch, machine: Path, environment: dict[str, str] | None = None, info: BuildInfo = INFO
) -> Diagnosis:
    monkeypatch.setattr(doctor, "build_info", lambda: info)
    return examine(environment=environment or {}, trial=loads, backends=no_backends, root=machine)


def test_a_build_that_is_as_asked(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    found = diagnose(monkeypatch, machine)
    assert found.ok
    assert found.active == "patched"
    assert [(state.name, state.path, state.loadable) for state in found.engines] == [
        ("patched", "/somewhere/patched.so", True),
        ("upstream", "/somewhere/upstream.so", True),
    ]
    assert not found.notes


def test_the_shape_that_others_rely_on(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    found = json.loads(json.dumps(diagnose(monkeypatch, machine, {"LLAMASMITH_WAIT": "nap"}).asdict()))
    assert {"version", "pin", "series_digest", "engines", "backends", "threads", "problems"} <= set(found)
    assert {"name", "path", "features", "loadable"} <= set(found["engines"][0])
    assert {"budget", "reasons"} <= set(found["threads"])
    assert set(found["problems"][0]) == {"what", "mend"}


@pytest.mark.parametrize(
    ("environment", "changes", "what", "mend"),
    [
        ({"LLAMASMITH_ENGINE": "fast"}, {}, "LLAMASMITH_ENGINE is 'fast'", "patched, upstream"),
        ({"LLAMASMITH_WAIT": "nap"}, {}, "LLAMASMITH_WAIT is 'nap'", "spin, yield, park"),
        ({}, {"cpu_flags": ("avx2", "avx512f")}, "a CPU with avx512f", "LLAMASMITH_CPU=dispatch"),
        ({}, {"engines": ()}, "without any engine", "pip install"),
        (
            {},
            {
                "requested": {"LLAMASMITH_ENGINES": "patched;upstream-openmp"},
                "left_out": {"upstream-openmp": "no OpenMP"},
            },
            "asked for the engine upstream-openmp, but it is not there: no OpenMP",
            "cmake.define.LLAMASMITH_ENGINES=patched;upstream-openmp",
        ),
        ({}, {"requested": {"LLAMASMITH_BACKENDS": "cpu;cuda"}}, "asked for the backend cuda", "LLAMASMITH_BACKENDS"),
    ],
)
def test_problems(
    environment: dict[str, str],
    changes: dict[str, object],
    what: str,
    mend: str,
    monkeypatch: pytest.MonkeyPatch,
    machine: Path,
) -> None:
    found = diagnose(monkeypatch, machine, environment, replace(INFO, **changes))  # type: ignore[arg-type]
    assert not found.ok
    (problem,) = found.problems
    assert what in problem.what
    assert mend in problem.mend


def test_an_engine_that_does_not_load(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    monkeypatch.setattr(doctor, "build_info", lambda: INFO)
    monkeypatch.setattr(doctor, "package_root", lambda: machine)
    found = examine(environment={}, trial=dies, backends=no_backends, root=machine)
    (problem,) = found.problems
    assert problem.what == "The engine upstream cannot be loaded: it ended with SIGILL"
    assert [state.loadable for state in found.engines] == [True, False]


def test_a_variant_is_passed_on_with_its_reason(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    def tried(name: str, environment: Mapping[str, str]) -> Trial:
        if "LLAMASMITH_CPU_VARIANT" in environment:
            return Trial(error="EngineError: LLAMASMITH_CPU_VARIANT is 'zen4', which this machine cannot run")
        return Trial("/x/libggml-cpu-sse42.so", variant="sse42", variants=("x64", "sse42"), variant_reason="the best")

    monkeypatch.setattr(doctor, "build_info", lambda: replace(INFO, cpu="dispatch", engines=("patched",), cpu_flags=()))
    monkeypatch.setattr(doctor, "package_root", lambda: machine)
    (state,) = examine(environment={}, trial=tried, root=machine).engines
    assert (state.variant, state.variants, state.variant_reason) == ("sse42", ("x64", "sse42"), "the best")
    (problem,) = examine(environment={"LLAMASMITH_CPU_VARIANT": "zen4"}, trial=tried, root=machine).problems
    assert "which this machine cannot run" in problem.what
    assert "unset LLAMASMITH_CPU_VARIANT" in problem.mend


def test_notes_are_no_problems(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    (machine / "sys/fs/cgroup").mkdir(parents=True)
    (machine / "sys/fs/cgroup/cpu.max").write_text("50000 100000\n", encoding="utf-8")
    (machine / "proc/self").mkdir()
    (machine / "proc/self/cgroup").write_text("0::/\n", encoding="utf-8")
    environment = {"OMP_NUM_THREADS": "4", "LLAMASMITH_ENGINE": "upstream", "LLAMASMITH_WAIT": "park"}
    found = diagnose(monkeypatch, machine, environment, replace(INFO, left_out={"upstream-openmp": "no OpenMP"}))
    assert found.ok
    assert found.active == "upstream"
    said = " ".join(note.what for note in found.notes)
    for words in ("upstream-openmp was left out", "OMP_NUM_THREADS=4", "one own way", "quota of 0.5 CPUs"):
        assert words in said


def test_a_source_tree_without_the_compiled_part(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    def no_build() -> BuildInfo:
        raise BuildError("nothing here")

    monkeypatch.setattr(doctor, "build_info", no_build)
    found = examine(environment={}, trial=loads, root=machine)
    assert not found.ok
    assert found.engines == ()
    assert "pip install ." in found.problems[0].mend


@pytest.mark.parametrize(
    ("child", "error"),
    [
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGILL)",
            "SIGILL (an instruction that this CPU does not have)",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("raise SystemExit('no luck')", "exit status 1: no luck"),
        ("print('not JSON')", "exit status 0"),
        ("import time; time.sleep(60)", "did not load within"),
        ('print(\'{"error": "EngineError: bad"}\')', "EngineError: bad"),
    ],
)
def test_trials_survive_their_engine(child: str, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_CHILD", child)
    monkeypatch.setattr(doctor, "TIMEOUT_SECONDS", 0.5 if "sleep" in child else 60)
    assert error in try_engine("patched", {}).error


def test_trials_hide_our_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    child = "import json, os; print(json.dumps({'features': sorted(os.environ), 'path': ''}))"
    monkeypatch.setattr(doctor, "_CHILD", child)
    found = try_engine("patched", {"LLAMASMITH_WAIT": "nap", "LLAMASMITH_ENGINE": "x", "KEPT": "1"})
    assert "KEPT" in found.features
    assert not [name for name in found.features if name.startswith("LLAMASMITH_")]


def test_nothing_compiled_is_imported_to_diagnose() -> None:
    child = "import json, sys, llamasmith.doctor; print(json.dumps({'features': ['llamasmith._core' in sys.modules]}))"
    original = doctor._CHILD
    try:
        doctor._CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[2])\n" + child
        assert try_engine("patched", {}).features == (False,)
    finally:
        doctor._CHILD = original
    assert sys.executable


@pytest.mark.parametrize(
    ("given", "environment", "said"),
    [
        ("always madvise [never]", {}, "echo madvise"),
        ("always [madvise] never", {"LLAMASMITH_HUGE_PAGES": "0"}, "unset LLAMASMITH_HUGE_PAGES"),
        ("always [madvise] never", {"LLAMASMITH_HUGE_PAGES": "2"}, "0 or 1"),
        ("always [madvise] never", {"LLAMASMITH_HUGE_PAGES": "1"}, None),
        ("[always] madvise never", {}, None),
    ],
)
def test_small_pages(
    monkeypatch: pytest.MonkeyPatch, machine: Path, given: str, environment: dict[str, str], said: str | None
) -> None:
    folder = machine / "sys/kernel/mm/transparent_hugepage"
    folder.mkdir(parents=True)
    (folder / "enabled").write_text(given)
    found = diagnose(monkeypatch, machine, environment)
    assert found.ok
    mends = [note.mend for note in found.notes]
    assert len(mends) == (said is not None)
    assert said is None or said in mends[0]
