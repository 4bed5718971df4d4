"""ci/fuzz: what it is told, and a second of it for each target (docs/proofs.md)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("ten",), "SECONDS is 'ten'. Allowed: a whole number, 1 or more"),
        (("0",), "SECONDS is '0'. Allowed: a whole number, 1 or more"),
        (("1", "tokens"), "'tokens' is no target. Allowed: load, text, grammar"),
    ],
)
def test_words_nobody_knows(words: tuple[str, ...], message: str) -> None:
    done = run(ROOT / "ci" / "fuzz", *words)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.timeout(3600)
def test_a_second_of_each_target() -> None:
    if not any(shutil.which(f"clang++{version}") for version in ("", *(f"-{n}" for n in range(14, 20)))):
        pytest.skip("libFuzzer is a part of clang (Debian: apt-get install clang)")
    done = run(ROOT / "ci" / "fuzz", 1)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.count("number_of_executed_units") == 3
