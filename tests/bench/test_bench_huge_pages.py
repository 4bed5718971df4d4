"""Huge pages against small ones, in one process: two processes differ by more, through where their memory lies."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import llamasmith
from llamasmith import Model, Session, hub, load_engine, quantize
from llamasmith.huge_pages import huge_pages

from .figures import alternate, keep

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.model

GREEDY: dict[str, Any] = {"temperature": 0.0, "ignore_eos": True, "reuse": False}
METRICS = {"tg32": ([1, 5, 9], 32), "pp256": ([1, *range(100, 355)], 1)}  # prompt, tokens generated


@pytest.fixture
def asks() -> Iterator[Any]:
    """What the engine has set for all buffers to come; None in its place leaves them to upstream."""
    if huge_pages() not in ("madvise", "always"):
        pytest.skip("needs huge pages: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
    load_engine("patched")
    library = ctypes.CDLL(str(Path(llamasmith.__file__).parent / "lib" / "libggml-base.so"))
    pointer = ctypes.c_void_p.in_dll(library, "ggml_smith_huge_pages")
    if pointer.value is None:
        pytest.skip("the engine does not ask: unset LLAMASMITH_HUGE_PAGES")
    asking = pointer.value
    yield pointer
    pointer.value = asking


@pytest.mark.benchmark(group="huge pages")
@pytest.mark.parametrize("metric", list(METRICS))
@pytest.mark.parametrize("kind", ["as it is", "Q4_0", "gemma"])
def test_huge_pages(
    benchmark: Any, asks: Any, request: pytest.FixtureRequest, tmp_path: Path, kind: str, metric: str
) -> None:
    path = hub.pull("gemma3-270m") if kind == "gemma" else request.getfixturevalue("smollm2_path")
    if kind == "Q4_0":
        quantize(path, tmp_path / "q4_0.gguf", "Q4_0", allow_requantize=True)
        path = tmp_path / "q4_0.gguf"
    asking, sessions = asks.value, {}
    # Two of each, made in turns: what the place of one buffer does to its speed shows in the difference of two alike.
    for name, value in [("huge", asking), ("small", None), ("huge again", asking), ("small again", None)]:
        asks.value = value
        sessions[name] = Session(Model(path, load_mode="none"), n_ctx=512)
    prompt, n_tokens = METRICS[metric]

    def rate(session: Session) -> float:
        start = time.perf_counter()
        session.generate(prompt, max_tokens=n_tokens, **GREEDY)
        return (n_tokens if n_tokens > 1 else len(prompt)) / (time.perf_counter() - start)

    for session in sessions.values():
        rate(session)
    measures = {name: lambda session=session: rate(session) for name, session in sessions.items()}
    values = alternate(measures, 30 if benchmark.enabled else 1)
    for name, rates in values.items():
        keep(benchmark, name, "tokens/s", rates)
    rounds = zip(*values.values(), strict=True)
    keep(benchmark, "huge against small", "%", [100 * (a + c) / (b + d) for a, b, c, d in rounds])
    benchmark.pedantic(lambda: rate(sessions["huge"]), rounds=1)
    for session in sessions.values():
        session.close()
