"""A new process until its engine is loaded: a single module, and the best of the variants for all CPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from .figures import alternate, keep, rounds_for

NAMED = "LLAMASMITH_TEST_DISPATCH_PYTHON"
START = """
import time
start = time.perf_counter()
import llamasmith
engine = llamasmith.load_engine("patched", backends=())
print(engine.name, len(engine.variants), 1e3 * (time.perf_counter() - start))
"""


def start(python: str) -> tuple[str, int, float]:
    """Of an engine that a new process loads: its name, its number of variants, milliseconds with the import."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("LLAMASMITH_")}
    done = subprocess.run([python, "-c", START], capture_output=True, text=True, check=False, env=env, cwd="/")
    assert done.returncode == 0, done.stderr
    name, variants, milliseconds = done.stdout.split()
    return name, int(variants), float(milliseconds)


@pytest.mark.benchmark(group="new process until its engine is loaded")
def test_start(benchmark: Any) -> None:
    def once() -> None:
        assert start(sys.executable)[0] == "patched"

    benchmark.pedantic(once, rounds=rounds_for(benchmark, once, most=20), warmup_rounds=1)


@pytest.mark.benchmark(group="new process until its engine is loaded")
def test_start_for_all_cpus(benchmark: Any) -> None:
    dispatch = os.environ.get(NAMED)
    if dispatch is None:
        pytest.skip(f"{NAMED} names no environment with a package for all CPUs; ci/core-wheel makes one")
    if start(sys.executable)[1]:
        pytest.skip("this installation has variants itself: there is no single module to compare with")

    def once() -> None:
        assert start(dispatch)[1] > 1

    rounds = rounds_for(benchmark, once, most=20)
    benchmark.pedantic(once, rounds=rounds, warmup_rounds=1)
    pythons = {"single module": sys.executable, "all variants": dispatch}
    values = alternate({name: lambda python=python: start(python)[2] for name, python in pythons.items()}, rounds)
    for name, milliseconds in values.items():
        keep(benchmark, name, "ms", milliseconds)
    pairs = zip(values["all variants"], values["single module"], strict=True)
    keep(benchmark, "more for variants", "ms", [more - less for more, less in pairs])
