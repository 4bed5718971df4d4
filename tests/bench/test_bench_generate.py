"""Generation from Python, alone and against upstream's llama-bench on the same libraries.

Figures: ``pytest tests/bench --benchmark-enable -s``. Without that option each runs once, as a test that it runs.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from llamasmith import Session, build_info, thread_budget
from llamasmith.build import package_root
from llamasmith.lab.stats import ratio, round_ratios

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model
N_TOKENS = 128
REPEATS = 3
ROUNDS = 12


def generate(session: Session) -> float:
    """Tokens per second. The first token is left out: its time is the prompt's."""
    timings = session.generate([1], max_tokens=N_TOKENS + 1, temperature=0.0, ignore_eos=True).timings
    return N_TOKENS / timings.generate_seconds


def llama_bench(tool: Path, model: Path, n_threads: int) -> float:
    command = [tool, "-m", model, "-p", "0", "-n", N_TOKENS, "-t", n_threads, "-r", REPEATS, "-o", "json"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True)
    return statistics.median(json.loads(done.stdout)[0]["samples_ts"])


@pytest.mark.benchmark(group="generate")
def test_generate(benchmark: Any, smollm2: Any) -> None:
    with Session(smollm2, n_ctx=256) as session:
        benchmark.pedantic(generate, args=(session,), rounds=10, warmup_rounds=1)


def test_generate_against_llama_bench(benchmark: Any, smollm2: Any, smollm2_path: Path, capsys: Any) -> None:
    if "llama-bench" not in build_info().tools:
        pytest.skip("needs a build with -C cmake.define.LLAMASMITH_TOOLS=ON")
    tool = package_root() / "engines" / "patched" / "llama-bench"
    n_threads = thread_budget().budget
    ours: list[float] = []
    theirs: list[float] = []
    with Session(smollm2, n_ctx=256, n_threads=n_threads) as session:

        def measure_ours() -> None:
            ours.append(statistics.median(generate(session) for _ in range(REPEATS)))

        def measure_theirs() -> None:
            theirs.append(llama_bench(tool, smollm2_path, n_threads))

        measure_ours()  # to warm up
        ours.clear()
        for i in range(ROUNDS if benchmark.enabled else 1):
            for measure in (measure_ours, measure_theirs)[:: 1 if i % 2 == 0 else -1]:
                measure()
        benchmark.pedantic(generate, args=(session,), rounds=1)
    found = ratio(round_ratios(ours, theirs), seed=0)
    benchmark.extra_info.update(python=ours, llama_bench=theirs, ratio=found.estimate, low=found.low, high=found.high)
    with capsys.disabled():
        interval = "" if found.low is None else f" [{found.low:.3f}, {found.high:.3f}]"
        print(
            f"\ntg{N_TOKENS}, {n_threads} threads: Python {statistics.median(ours):.1f}, llama-bench "
            f"{statistics.median(theirs):.1f} tokens/s; ratio {found.estimate:.3f}{interval}"
        )
    assert len(ours) == len(theirs)
