from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from llamasmith import Session, ThreadPool
from llamasmith.errors import ContextFull, SessionBusy, SessionClosed

GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}


def test_decode_gives_logits_of_the_last_token(session: Any) -> None:
    logits = session.decode([1, 40, 50])
    assert logits.shape == (267,)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert session.n_past == 3


def test_memory_makes_the_difference(session: Any) -> None:
    whole = session.decode([1, 40, 50, 60])
    session.reset()
    assert session.n_past == 0
    session.decode([1, 40])
    parts = session.decode([50, 60])
    np.testing.assert_allclose(parts, whole, rtol=1e-3, atol=1e-4)
    session.reset()
    assert np.abs(session.decode([50, 60]) - whole).max() > 0.01


def test_logits_are_the_callers_own(session: Any) -> None:
    first = session.decode([1])
    kept = first.copy()
    session.decode([2])
    np.testing.assert_array_equal(first, kept)


def test_greedy_follows_the_logits(session: Any) -> None:
    tokens = [1, 40, 50]
    expected = []
    logits = session.decode(tokens)
    for _ in range(8):
        expected.append(int(logits.argmax()))
        logits = session.decode(expected[-1:])
    assert session.generate(tokens, max_tokens=8, **GREEDY).tokens == tuple(expected)


def test_result_tells_what_happened(session: Any) -> None:
    result = session.generate("hello world", max_tokens=5, **GREEDY)
    assert result.stop_reason == "length"
    assert len(result.tokens) == result.timings.generated_tokens == 5
    assert result.timings.prompt_tokens > 1
    assert result.timings.prompt_seconds > 0
    assert result.timings.generate_seconds > 0
    assert result.timings.generated_tokens_per_second > 0


def test_stream_gives_the_same_text(session: Any) -> None:
    result = session.generate("hello", max_tokens=40, **GREEDY)
    stream = session.stream("hello", max_tokens=40, **GREEDY)
    assert "".join(stream) == result.text
    assert stream.result.tokens == result.tokens
    assert stream.result.text == result.text


def test_stream_never_hands_out_half_a_character(session: Any) -> None:
    """The tiny model writes bytes at random: what is not UTF-8 becomes U+FFFD, whole characters stay whole."""
    for seed in range(5):
        stream = session.stream("a", max_tokens=60, seed=seed, temperature=2.0, ignore_eos=True)
        for piece in stream:
            piece.encode("utf-8")
        assert stream.result.timings.generated_tokens == 60


def test_seed_repeats_the_choice(session: Any) -> None:
    def sample(seed: int) -> tuple[int, ...]:
        tokens: tuple[int, ...] = session.generate(
            "a", max_tokens=20, seed=seed, temperature=1.5, ignore_eos=True
        ).tokens
        return tokens

    assert sample(7) == sample(7)
    assert sample(7) != sample(8)


def test_top_k_of_one_is_greedy(session: Any) -> None:
    greedy = session.generate("abc", max_tokens=10, **GREEDY)
    assert session.generate("abc", max_tokens=10, temperature=1.0, top_k=1, ignore_eos=True).tokens == greedy.tokens


def test_stop_string_ends_the_text_and_is_left_out(session: Any) -> None:
    text = session.generate("hello", max_tokens=40, **GREEDY).text
    stop = next(iter(re.findall(r"[ -~]{2}", text[3:])))  # the tiny model writes bytes that are no text, too
    result = session.generate("hello", max_tokens=40, stop=stop, **GREEDY)
    assert result.stop_reason == "stop"
    assert result.text == text[: text.index(stop)]
    pieces = list(session.stream("hello", max_tokens=40, stop=[stop, "never there"], **GREEDY))
    assert "".join(pieces) == result.text
    assert result.timings.generated_tokens < 40


def test_generation_ends_with_the_context(tiny: Any) -> None:
    with Session(tiny, n_ctx=256, n_threads=1) as session:
        result = session.generate("a", max_tokens=None, **GREEDY)
        assert result.stop_reason == "context"
        # the last token was chosen from a full memory
        assert result.timings.prompt_tokens + result.timings.generated_tokens == session.n_ctx + 1


def test_end_token_ends_it(session: Any, tiny: Any) -> None:
    reasons = {
        session.generate("a", max_tokens=250, seed=s, temperature=5.0, top_k=0, top_p=1.0).stop_reason for s in range(8)
    }
    assert "eos" in reasons


def test_append_goes_on_from_the_memory(session: Any) -> None:
    tokens = [1, 40, 50, 60]
    whole = session.generate(tokens, max_tokens=6, **GREEDY)
    session.reset()
    session.decode(tokens[:2])
    parts = session.generate(tokens[2:], max_tokens=6, append=True, **GREEDY)
    assert parts.tokens == whole.tokens
    session.generate(tokens, max_tokens=1, **GREEDY)
    assert session.n_past == 4


def test_nothing_is_generated_when_nothing_is_asked_for(session: Any) -> None:
    result = session.generate("a", max_tokens=0)
    assert (result.text, result.tokens, result.stop_reason) == ("", (), "length")


def test_full_context_is_an_error_and_loses_nothing(tiny: Any) -> None:
    with Session(tiny, n_ctx=256, n_threads=1) as session:
        session.decode([1] * 256)
        with pytest.raises(ContextFull, match="holds 256"):
            session.decode([1])
        with pytest.raises(ContextFull, match="1 tokens do not fit"):
            session.generate([1], append=True)
        assert session.n_past == 256


def test_prompt_in_many_batches_equals_one(tiny: Any) -> None:
    tokens = [1 + (i * 7) % 260 for i in range(100)]
    with Session(tiny, n_ctx=256, n_threads=1) as one, Session(tiny, n_ctx=256, n_batch=9, n_threads=1) as many:
        whole = one.decode(tokens)
        # not bit for bit: attention sums in another order, over a cache of 16-bit floats
        np.testing.assert_allclose(many.decode(tokens), whole, rtol=0, atol=0.05)
        one.reset()
        assert np.abs(one.decode(tokens[9:]) - whole).max() > 0.5  # what a lost batch would do


def test_closed_session_says_so(tiny: Any) -> None:
    session = Session(tiny, n_ctx=64, n_threads=1)
    session.close()
    session.close()
    for call in (lambda: session.decode([1]), lambda: session.generate("a"), session.reset, lambda: session.n_past):
        with pytest.raises(SessionClosed):
            call()
    assert "closed" in repr(session)


def test_second_stream_ends_the_first(session: Any) -> None:
    first = session.stream("a", max_tokens=5, **GREEDY)
    next(first)
    session.generate("b", max_tokens=1, **GREEDY)
    with pytest.raises(SessionBusy, match="another generation"):
        next(first)


def test_sessions_can_share_a_pool(tiny: Any) -> None:
    pool = ThreadPool(2, wait="yield")
    with Session(tiny, n_ctx=64, pool=pool) as a, Session(tiny, n_ctx=64, pool=pool) as b:
        assert a.generate("a", max_tokens=5, **GREEDY).tokens == b.generate("a", max_tokens=5, **GREEDY).tokens
    assert pool.n_threads == 2  # still open: it was not theirs
    pool.close()


def test_own_pool_for_prompts(tiny: Any) -> None:
    with Session(tiny, n_ctx=64, n_threads=1, n_threads_batch=2, wait="yield") as session:
        assert session.pool_batch.n_threads == 2
        session.generate("hello world", max_tokens=2, **GREEDY)
        counters = session.pool_batch.counters()
        assert counters is not None
        assert counters.barriers > 0


def test_kv_cache_types(tiny: Any) -> None:
    with Session(tiny, n_ctx=64, n_threads=1) as session:
        reference = session.decode([1, 40, 50])
    with Session(tiny, n_ctx=64, n_threads=1, type_k="f32", type_v="f32") as session:
        np.testing.assert_allclose(session.decode([1, 40, 50]), reference, rtol=0.05, atol=0.05)


def test_logits_after_every_token(tiny: Any) -> None:
    tokens = [1, 40, 50, 60, 70]
    with Session(tiny, n_ctx=64, n_threads=1) as session:
        one_by_one = np.stack([session.decode([token]) for token in tokens])
        session.reset()
        every = session.decode(tokens, all_logits=True)  # n_outputs_max is 1: in batches of one
        assert session.n_past == len(tokens)
    np.testing.assert_array_equal(every, one_by_one)
    with Session(tiny, n_ctx=64, n_threads=1, n_outputs_max=3) as session:
        in_batches = session.decode(tokens, all_logits=True)
        assert in_batches.shape == (5, tiny.n_vocab)
        np.testing.assert_allclose(in_batches, one_by_one, rtol=1e-3, atol=1e-3)
        session.reset()
        last = session.decode(tokens)
    np.testing.assert_allclose(in_batches[-1], last, rtol=1e-3, atol=1e-3)


def test_threads_without_a_pool(tiny: Any) -> None:
    with Session(tiny, n_ctx=64, n_threads=2, wait="yield") as session:
        expected = session.generate("hello world", max_tokens=6, **GREEDY).tokens
    with Session(tiny, n_ctx=64, n_threads=2, n_threads_batch=1, disposable_pool=True) as session:
        assert session.pool is None
        assert session.counters() is None
        assert session.generate("hello world", max_tokens=6, **GREEDY).tokens == expected
        assert "2 disposable threads" in repr(session)
    assert "closed" in repr(session)
