"""What waiting costs: at one barrier; and in small graphs, where the wait for the next graph counts too.

The nanoseconds of a barrier at n threads are

    (time of a token with n threads - time of a token with 1 thread) / barriers that each thread passes for a token

on a model whose graph has a barrier after each of some hundred steps, and whose steps are too small to be shared: rows
of 16 numbers. One thread alone passes no barrier, so what is left is the barriers, each with the wait for the thread
that comes last. A graph's start and end are counted in: they are worth one or two barriers of 431. Work that threads do
share after all would make the figure too small, never too large.

The pool counts the barriers (engine ``patched`` alone). Its counter of waiting time is kept beside the figure and says
something else: how long a thread waits at a barrier on average, the others' work included.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from llamasmith import Session, load_engine, thread_budget

from .figures import alternate, keep, rounds_for

N_VOCAB = 64
LAYERS = 17  # 25 barriers each, and 6
N_TOKENS = 4


def nanoseconds(session: Session, n_tokens: int) -> float:
    """Of one token, without the first one, whose time is the prompt's."""
    result = session.generate([1], max_tokens=n_tokens + 1, temperature=0.0, ignore_eos=True)
    return result.timings.generate_seconds / n_tokens * 1e9


@pytest.mark.benchmark(group="barrier (spin with too few CPUs: a shorter token)")
@pytest.mark.parametrize(
    ("n_threads", "wait"), [(1, "spin"), *((n, wait) for n in (2, 4) for wait in ("spin", "yield", "park", "adaptive"))]
)
def test_barrier(benchmark: Any, narrow: Any, n_threads: int, wait: str) -> None:
    # Four threads that spin on two CPUs wait at each barrier for the end of a time slice: half a second for 31 of them.
    slow = wait == "spin" and n_threads > thread_budget().budget
    brief = slow or not benchmark.enabled
    model, n_tokens = narrow(1 if brief else LAYERS, N_VOCAB), 1 if brief else N_TOKENS
    if not load_engine().chooses_wait:
        pytest.skip(f"the engine {load_engine().name} does not count barriers; patched does")
    with (
        Session(model, n_ctx=64, n_threads=1) as single,
        Session(model, n_ctx=64, n_threads=n_threads, wait=wait) as session,
    ):
        before = session.counters()
        np.testing.assert_array_equal(session.decode([1]), single.decode([1]))
        after = session.counters()
        assert before is not None
        assert after is not None
        # Rounded up: a worker may not have counted its last one yet.
        barriers = math.ceil((after.barriers - before.barriers) / n_threads)
        assert (barriers > 0) == (n_threads > 1)

        rounds = rounds_for(benchmark, lambda: nanoseconds(session, n_tokens), most=50)
        if n_threads > 1:
            found = alternate(
                {"session": lambda: nanoseconds(session, n_tokens), "single": lambda: nanoseconds(single, n_tokens)},
                rounds,
            )
            pairs = zip(found["session"], found["single"], strict=True)
            keep(benchmark, "barrier", "ns", [(one - other) / barriers for one, other in pairs])
        benchmark.pedantic(nanoseconds, args=(session, n_tokens), rounds=rounds, warmup_rounds=1)
        last = session.counters()
        assert last is not None
        passed = last.barriers - after.barriers
        benchmark.extra_info.update(
            tokens=n_tokens,
            barriers_per_token=barriers,
            mean_wait_ns=(last.wait_ns - after.wait_ns) / passed if passed else None,
        )


@pytest.mark.benchmark(group="50 tokens of a tiny model, 2 threads")
@pytest.mark.parametrize("wait", ["spin", "yield", "park", "adaptive"])
def test_small_graphs(benchmark: Any, tiny: Any, wait: str) -> None:
    if not load_engine().chooses_wait:
        pytest.skip(f"the engine {load_engine().name} has no choice of waiting; patched has")
    options: dict[str, Any] = {"max_tokens": 50 if benchmark.enabled else 5, "temperature": 0.0, "ignore_eos": True}
    with Session(tiny, n_ctx=128, n_threads=2) as other:
        expected = other.generate([1], **options).tokens
    with Session(tiny, n_ctx=128, n_threads=2, wait=wait) as session:

        def generate() -> tuple[int, ...]:
            return session.generate([1], **options).tokens

        assert generate() == expected
        rounds = rounds_for(benchmark, generate, most=30)
        assert benchmark.pedantic(generate, rounds=rounds, warmup_rounds=1) == expected
        counters = session.counters()
        assert counters is not None
        assert counters.barriers > 0
        benchmark.extra_info.update(barriers=counters.barriers, wait_ns=counters.wait_ns)
