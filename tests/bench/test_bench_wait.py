"""What waiting costs: many small graphs, whose time is nearly all barriers and the wait between graphs.

Figures: ``pytest tests/bench --benchmark-enable``. Without that option each runs once, as a test that it runs.
"""

from __future__ import annotations

from typing import Any

import pytest

from llamasmith import Session

N_TOKENS = 50


@pytest.mark.benchmark(group="50 tokens of a tiny model, 2 threads")
@pytest.mark.parametrize("wait", ["spin", "yield", "park"])
def test_small_graphs(benchmark: Any, tiny: Any, wait: str) -> None:
    with Session(tiny, n_ctx=128, n_threads=2, wait=wait) as session:

        def generate() -> int:
            result = session.generate([1], max_tokens=N_TOKENS, temperature=0.0, ignore_eos=True)
            return len(result.tokens)

        assert benchmark(generate) == N_TOKENS
        counters = session.counters()
        benchmark.extra_info.update(wait=wait, barriers=counters.barriers, wait_ns=counters.wait_ns)
        assert counters.barriers > 0
