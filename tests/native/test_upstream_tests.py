"""ci/upstream-tests: what it runs, and what it refuses before it builds anything."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from scripts import load_script

from llamasmith import _core

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> Any:
    return load_script(ROOT / "ci" / "upstream_tests.py")


def test_every_wait_policy_is_tried(script: Any) -> None:
    assert script.policies() == list(_core.wait_policies())
    runs = script.runs(list(script.NAMES), script.policies(), Path("m.gguf"), "ADD")
    for policy in _core.wait_policies():
        tried = [(run.test, run.arguments[0]) for run in runs if run.policy == policy]
        assert {("barrier", "2"), ("barrier", "4"), ("thread-safety", "-m")} <= set(tried)
    (operations,) = [run.arguments for run in runs if run.test == "backend-ops"]
    assert operations == ("test", "-b", "CPU", "-o", "ADD")


def test_a_failure_is_told(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = tmp_path / "build" / "bin"
    programs.mkdir(parents=True)
    for name, status in (("test-good", 0), ("test-bad", 3)):
        (programs / name).write_text(f'#!/bin/sh\necho "$LLAMASMITH_WAIT $1: 5/6 tests passed"\nexit {status}\n')
        (programs / name).chmod(0o755)
    monkeypatch.setattr(script, "BUILD", tmp_path)
    assert script.passes(script.Run("good", "park", ("2",)))
    assert not script.passes(script.Run("bad", "spin", ("4",)))
    good, bad = capsys.readouterr().out.splitlines()
    assert good.startswith("  test-good park ")
    assert good.endswith("ok: 5/6 tests passed")
    assert "FAILED, status 3" in bad
    assert (tmp_path / "logs" / "test-bad-spin.log").read_text() == "spin 4: 5/6 tests passed\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--only", "barrier,rope"), "--only names 'rope'. Allowed: barrier, thread-safety, backend-ops"),
        (("--model", "/nowhere/m.gguf"), "there is no file /nowhere/m.gguf"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], message: str) -> None:
    done = subprocess.run([ROOT / "ci" / "upstream-tests", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
