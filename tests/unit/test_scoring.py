"""How likely a model finds a text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llamasmith import Session, perplexity
from llamasmith.errors import InvalidOption

TOKENS = [1, *[40 + 7 * i % 200 for i in range(60)]]


def log_softmax(logits: Any) -> Any:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("n_outputs_max", [1, 7, 64])
@pytest.mark.parametrize("first", [0, 20, 59])
def test_scores_are_those_of_the_logits(tiny: Any, n_outputs_max: int, first: int) -> None:
    with Session(tiny, n_ctx=256, n_threads=1, n_outputs_max=n_outputs_max) as session:
        expected = log_softmax(session.decode(TOKENS, all_logits=True))[np.arange(60), TOKENS[1:]]
        scores = session.score(TOKENS, first=first)
        assert scores.shape == (60 - first,)
        np.testing.assert_allclose(scores, expected[first:], rtol=1e-3, atol=1e-3)
        assert session.tokens == TOKENS
        more = session.score([50, 51, 52], append=True)
        assert more.shape == (2,)
        assert session.n_past == len(TOKENS) + 3


def test_texts_are_scored_too(session: Any) -> None:
    scores = session.score("hello world")
    assert (scores < 0).all()
    for nothing in ("", [1], []):
        with pytest.raises(InvalidOption):
            session.score(nothing)
    with pytest.raises(InvalidOption, match="first"):
        session.score([1, 2, 3], first=3)


def test_perplexity_is_the_mean_surprise_of_second_halves(tiny: Any) -> None:
    text = "hello world and the abc " * 20
    tokens = tiny.tokenize(text)
    size = 64
    expected: list[float] = []
    with Session(tiny, n_ctx=256, n_threads=1, n_outputs_max=64) as session:
        for start in range(0, len(tokens) - size + 1, size):
            part = [1, *tokens[start + 1 : start + size]]
            expected += session.score(part)[size // 2 :].tolist()
    seen: list[float] = []
    result = perplexity(tiny, text, n_ctx=size, n_threads=1, progress=seen.append)
    assert result.value == pytest.approx(np.exp(-np.mean(expected)), rel=1e-3)
    assert result.n_tokens == len(expected)
    assert result.n_chunks == len(seen) == len(tokens) // size
    assert seen[-1] == 1.0
    assert 0 < result.error < result.value
    with pytest.raises(InvalidOption, match="at least 1024"):
        perplexity(tiny, "hello")
