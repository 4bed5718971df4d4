"""Many requests at once, against one after another and llama-batched-bench; a prompt whose beginning is known."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from llamasmith import BatchSession, Model, Session, load_engine, quantize

from .figures import alternate, keep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.model

GREEDY: dict[str, Any] = {"temperature": 0.0, "ignore_eos": True}


@pytest.fixture(scope="module")
def q4_0(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """The real model with weights that the engine rearranges, which pays in batches."""
    path = tmp_path_factory.mktemp("q4_0") / "smollm2-q4_0.gguf"
    quantize(smollm2_path, path, "Q4_0", allow_requantize=True)
    with Model(path) as model:
        yield model


@pytest.mark.benchmark(group="batch: requests of 64 tokens")
@pytest.mark.parametrize("n_parallel", [2, 4, 8])
def test_batch(benchmark: Any, q4_0: Model, n_parallel: int) -> None:
    n_tokens = 64 if benchmark.enabled else 4
    prompts = [[1, 100 + i] for i in range(n_parallel)]
    with (
        Session(q4_0, n_ctx=256) as session,
        BatchSession(q4_0, n_parallel=n_parallel, n_ctx=256, pool=session.pool) as batch,
    ):

        def one_by_one() -> float:
            start = time.perf_counter()
            for prompt in prompts:
                session.generate(prompt, max_tokens=n_tokens, **GREEDY)
            return n_parallel * n_tokens / (time.perf_counter() - start)

        def together() -> float:
            start = time.perf_counter()
            batch.generate(prompts, max_tokens=n_tokens, **GREEDY)
            return n_parallel * n_tokens / (time.perf_counter() - start)

        rounds = 6 if benchmark.enabled else 1
        together()
        values = alternate({"one by one": one_by_one, "together": together}, rounds)
        keep(benchmark, "one by one", "tokens/s", values["one by one"])
        keep(benchmark, "together", "tokens/s", values["together"])
        ratios = [100 * b / a for a, b in zip(values["one by one"], values["together"], strict=True)]
        keep(benchmark, "together against", "% of one by one", ratios)
        benchmark.pedantic(together, rounds=1)


def batched_bench(model: Any, n_parallel: int, n_tokens: int, n_threads: int) -> float:
    """Tokens per second of upstream's program, on the same engine."""
    engine = load_engine()
    tool = engine.path.parent / "llama-batched-bench"
    if not tool.is_file():
        pytest.skip("needs llama-batched-bench: pip install . -C cmake.define.LLAMASMITH_TOOLS=ON")
    words = ["-c", "2048", "-npp", "2", "-ntg", str(n_tokens), "-npl", str(n_parallel), "-t", str(n_threads)]
    found = subprocess.run(
        [tool, "-m", model.path, *words, "--output-format", "jsonl"], capture_output=True, text=True, check=True
    )
    last = next(line for line in reversed(found.stdout.splitlines()) if line.startswith("{"))
    return float(json.loads(last)["speed_tg"])


@pytest.mark.benchmark(group="batch: beside llama-batched-bench")
def test_beside_batched_bench(benchmark: Any, q4_0: Model) -> None:
    n_parallel, n_tokens = 8, 64 if benchmark.enabled else 4
    prompts = [[1, 100 + i] for i in range(n_parallel)]
    with BatchSession(q4_0, n_parallel=n_parallel, n_ctx=256) as batch:
        assert batch.pool is not None
        n_threads = batch.pool.n_threads

        def ours() -> float:
            results = batch.generate(prompts, max_tokens=n_tokens + 1, **GREEDY)
            return n_parallel * n_tokens / max(result.timings.generate_seconds for result in results)

        def upstreams() -> float:
            return batched_bench(q4_0, n_parallel, n_tokens, n_threads)

        upstreams()
        values = alternate({"ours": ours, "llama-batched-bench": upstreams}, 8 if benchmark.enabled else 1)
        for name, rates in values.items():
            keep(benchmark, name, "tokens/s", rates)
        pairs = zip(values["ours"], values["llama-batched-bench"], strict=True)
        keep(benchmark, "ours against it", "%", [100 * ours / theirs for ours, theirs in pairs])
        benchmark.pedantic(ours, rounds=1)


@pytest.mark.benchmark(group="prefix: 2000 tokens that are known")
def test_prefix(benchmark: Any, smollm2: Any) -> None:
    n_prompt = 2000 if benchmark.enabled else 50
    prompt = [1, *[100 + i % 1000 for i in range(n_prompt - 1)]]
    with Session(smollm2, n_ctx=2100) as session:

        def first() -> float:
            session.reset()
            return session.generate(prompt, max_tokens=1, **GREEDY).timings.prompt_seconds

        def again() -> float:
            result = session.generate([*prompt, 5], max_tokens=1, **GREEDY)
            assert result.timings.reused_tokens >= n_prompt
            seconds = result.timings.prompt_seconds
            session.generate(prompt, max_tokens=1, **GREEDY)
            return seconds

        rounds = 4 if benchmark.enabled else 1
        values: dict[str, list[float]] = {"first": [], "again": []}
        for _ in range(rounds):
            values["first"].append(first())
            values["again"].append(again())
        keep(
            benchmark,
            "first time over again",
            "x",
            [a / b for a, b in zip(values["first"], values["again"], strict=True)],
        )
        benchmark.pedantic(again, rounds=1)
