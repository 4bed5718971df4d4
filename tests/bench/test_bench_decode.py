"""One evaluation of the real model: a token after a short text, and a prompt of 128 tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llamasmith import Session, load_engine

from .figures import rounds_for

pytestmark = pytest.mark.model

SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "spin": {"wait": "spin"},
    "yield": {"wait": "yield"},
    "park": {"wait": "park"},
    "1 thread": {"n_threads": 1},
}
TEXT = list(range(1000, 1016))
TOKEN = [2000]
PROMPT = list(range(1000, 1128))


@pytest.mark.benchmark(group="decode step: 1 token")
@pytest.mark.parametrize("setting", SETTINGS)
def test_decode_step(benchmark: Any, smollm2: Any, setting: str) -> None:
    options = SETTINGS[setting]
    engine = load_engine()
    if "wait" in options and not engine.chooses_wait:
        pytest.skip(f"the engine {engine.name} has no choice of waiting; patched has")

    def step_after_text(session: Session) -> Any:
        session.reset()
        session.decode(TEXT)
        return session.decode(TOKEN)

    with Session(smollm2, n_ctx=256, **options) as session:
        with Session(smollm2, n_ctx=256, n_threads=options.get("n_threads")) as other:
            expected = step_after_text(other)
        np.testing.assert_array_equal(step_after_text(session), expected)

        def back() -> None:
            session.reset()
            session.decode(TEXT)

        rounds = rounds_for(benchmark, lambda: step_after_text(session), most=60)
        logits = benchmark.pedantic(session.decode, args=(TOKEN,), setup=back, rounds=rounds, warmup_rounds=1)
        np.testing.assert_array_equal(logits, expected)


@pytest.mark.benchmark(group="prompt: 128 tokens")
def test_prompt_128(benchmark: Any, smollm2: Any) -> None:
    with Session(smollm2, n_ctx=256) as session:
        expected = session.decode(PROMPT)

        def again() -> Any:
            session.reset()
            return session.decode(PROMPT)

        np.testing.assert_array_equal(again(), expected)
        rounds = rounds_for(benchmark, again, most=12)
        logits = benchmark.pedantic(session.decode, args=(PROMPT,), setup=session.reset, rounds=rounds, warmup_rounds=1)
        np.testing.assert_array_equal(logits, expected)
