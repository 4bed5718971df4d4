"""The stress test of thread pools, without a sanitizer: builds, and finds nothing in some seconds (docs/proofs.md)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = ("churn", "disposable", "resize", "policies", "pauses", "counting", "asleep", "aborted", "pair", "fork")


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.timeout(1800)
def test_pools_under_stress(build: Callable[..., Path]) -> None:
    stress = build("stress", "CMAKE_BUILD_TYPE=Release")
    done = run(stress, 10, 7)
    assert done.returncode == 0, done.stderr
    assert re.match(r"stress: 10 s, seed 7: \d+ graphs in \d+ rounds, all bits as expected", done.stdout)
    for scenario in SCENARIOS:
        assert re.search(rf"{scenario} [1-9]", done.stdout), done.stdout

    for words in (("0",), ("ten",), ("1", "-3"), ("1", "")):
        done = run(stress, *words)
        assert done.returncode == 2
        assert f"is '{words[-1]}'. Allowed: a whole number, 1 or more" in done.stderr


@pytest.mark.parametrize("words", [(), ("msan",), ("tsan20",)])
def test_a_preset_nobody_knows(words: tuple[str, ...]) -> None:
    done = run(ROOT / "ci" / "sanitize", *words)
    assert done.returncode == 2
    assert "Allowed: tsan, asan, plain" in done.stderr
