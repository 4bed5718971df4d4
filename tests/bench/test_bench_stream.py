"""What it costs to get the text piece by piece: a Python loop over a stream, against one native call for all of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from llamasmith import Session

from .figures import alternate, keep, rounds_for


@pytest.mark.benchmark(group="stream")
@pytest.mark.parametrize("n_tokens", [64, 448])
def test_stream(benchmark: Any, narrow: Any, n_tokens: int) -> None:
    # Two lengths: a cost per token that grows with the tokens before it shows itself.
    options: dict[str, Any] = {"max_tokens": n_tokens, "temperature": 0.0, "ignore_eos": True}
    with Session(narrow(1, 64), n_ctx=512, n_threads=1) as session:

        def stream() -> str:
            return "".join(session.stream([1], **options))

        def generate() -> str:
            return session.generate([1], **options).text

        def nanoseconds(run: Any) -> float:
            start = time.perf_counter()
            run()
            return (time.perf_counter() - start) / n_tokens * 1e9

        text = generate()
        assert stream() == text
        rounds = rounds_for(benchmark, stream, most=20)
        found = alternate({"stream": lambda: nanoseconds(stream), "generate": lambda: nanoseconds(generate)}, rounds)
        beyond = [one - other for one, other in zip(found["stream"], found["generate"], strict=True)]
        keep(benchmark, "beyond generate()", "ns/token", beyond)
        assert benchmark.pedantic(stream, rounds=rounds, warmup_rounds=1) == text
