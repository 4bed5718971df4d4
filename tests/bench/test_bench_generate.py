"""Generation from Python. Beside llama-bench: the lab's experiment ``python-overhead``."""

from __future__ import annotations

from typing import Any

import pytest

from llamasmith import Session

from .figures import rounds_for

pytestmark = pytest.mark.model

N_TOKENS = 64


@pytest.mark.benchmark(group=f"generate: {N_TOKENS} tokens")
def test_generate(benchmark: Any, smollm2: Any) -> None:
    n_tokens = N_TOKENS if benchmark.enabled else 8
    with Session(smollm2, n_ctx=256) as session:
        expected = []
        logits = session.decode([1])
        for _ in range(n_tokens):
            expected.append(int(logits.argmax()))
            logits = session.decode(expected[-1:])

        def generate() -> tuple[int, ...]:
            return session.generate([1], max_tokens=n_tokens, temperature=0.0, ignore_eos=True).tokens

        assert generate() == tuple(expected)
        rounds = rounds_for(benchmark, generate, most=10)
        assert benchmark.pedantic(generate, rounds=rounds, warmup_rounds=1) == tuple(expected)
