"""Broken files by the ten thousand: each is a model or an exception, never the end of the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHILD = ROOT / "tests" / "support" / "mutant_child.py"


def survive(kind: str, first: int, last: int, kept: Path) -> dict[str, int]:
    """How many of the files ended how. `kept`: a folder, where the one that ended the process is left."""
    env = {**os.environ, "PYTHONPATH": str(CHILD.parent), "PYTHONFAULTHANDLER": "1"}
    command = [sys.executable, str(CHILD), kind, str(first), str(last), str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=500)
    left = [str(path) for path in kept.iterdir()]
    assert done.returncode == 0, f"status {done.returncode}; the file that did it: {left}\n{done.stderr[-3000:]}"
    ends: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    assert sum(ends.values()) == last - first
    return ends


def test_ten_thousand_broken_vocabularies(tmp_path: Path) -> None:
    ends = survive("vocab", 0, 10_000, tmp_path)
    assert set(ends) <= {"loaded", "InvalidModel", "InvalidOption", "NotEnoughMemory"}
    assert ends["loaded"] > 1000  # they are not so broken that nothing looks at them
    assert ends["InvalidModel"] > 1000


def test_broken_models_with_weights(tmp_path: Path) -> None:
    ends = survive("full", 0, 500, tmp_path)
    assert ends["loaded"] > 50
    assert ends["InvalidModel"] > 50


def test_absurd_numbers_for_every_architecture(tmp_path: Path) -> None:
    ends = survive("arch", 0, 1500, tmp_path)
    assert ends["InvalidModel"] > 1000


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), [("vocab", 60_000), ("full", 5_000), ("arch", 20_000)])
def test_many_more(tmp_path: Path, kind: str, count: int) -> None:
    survive(kind, 1_000_000, 1_000_000 + count, tmp_path)
