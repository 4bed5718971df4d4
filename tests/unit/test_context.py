"""Contexts of many sequences: batches, options, one thread at a time."""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from contexts import A, B, MakeContext, after, close, feed, outcome

from llamasmith import Model, Session, ThreadPool
from llamasmith._native import _core
from llamasmith.errors import (
    ContextFull,
    InvalidOption,
    SessionClosed,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("unified", [False, True])
def test_sequences_of_one_batch_do_not_see_each_other(make_context: MakeContext, unified: bool) -> None:
    alone = make_context()
    of_a = after(alone, A)
    alone.memory_clear(data=False)
    of_b = after(alone, B)
    both = make_context(n_seq_max=2, n_outputs_max=2, kv_unified=unified)
    batch = _core.Batch(both)
    batch.extend(A, pos=0, seq_id=0, every_output=False)
    batch.extend(B, pos=0, seq_id=1, every_output=False)
    assert (len(batch), batch.n_outputs, batch.capacity) == (7, 2, 64)
    both.process(batch, encode=False)
    assert close(both.logits(len(A) - 1, copy=True), of_a)
    assert close(both.logits(-1, copy=True), of_b)
    assert both.logits(None, copy=True).shape == (2, both.logits(-1, copy=True).size)
    assert (both.seq_pos_max(0), both.seq_pos_max(1)) == (3, 2)


def test_a_token_of_two_sequences_is_evaluated_once(make_context: MakeContext) -> None:
    alone = make_context()
    expected = after(alone, [*A, 99])
    both = make_context(n_seq_max=2, kv_unified=True)
    batch = _core.Batch(both)
    for i, token in enumerate(A):
        batch.add(token, pos=i, seq_ids=[0, 1], output=False)
    batch.set_output(len(A) - 1, True)
    both.process(batch, encode=False)
    assert close(after(both, [99], seq_id=1), expected)
    assert both.seq_pos_max(0) == 3


def test_session_and_context_agree(make_context: MakeContext, tiny: Model) -> None:
    with Session(tiny, n_ctx=512, n_threads=2, wait="yield") as session:
        expected = session.decode(A)
        assert session._context.seq_pos_max(0) == 3
        session._context.seq_rm(0, 2, -1)
        assert session.n_past == 2
        assert close(session.decode(A[2:]), expected)
    assert close(after(make_context(), A), expected)


def test_perf_and_memory(make_context: MakeContext) -> None:
    context = make_context(no_perf=False)
    feed(context, A)
    context.synchronize()  # else llama.cpp counts what waits together
    after(context, [70])
    perf = context.perf()
    assert perf["n_p_eval"] == 4
    assert perf["n_eval"] >= 1
    assert perf["p_eval_ms"] > 0
    context.perf_reset()
    assert context.perf()["p_eval_ms"] == 0
    rows = context.memory_breakdown()
    assert sum(row["context"] for row in rows) > 0
    assert sum(row["compute"] for row in rows) > 0
    assert {row["device"] for row in rows} == {"CPU"}
    assert all(row["host"] for row in rows)
    context.synchronize()


def test_what_a_model_would_take(make_context: MakeContext, tiny_path: Path) -> None:
    """no_alloc: the same figures, without the memory."""
    real = make_context().memory_breakdown()
    with Model(tiny_path, no_alloc=True) as model:
        context = make_context(model)
        assert sum(row["context"] for row in context.memory_breakdown()) == sum(row["context"] for row in real)
        assert sum(row["model"] for row in context.memory_breakdown()) > 0
        with pytest.raises(InvalidOption, match="no_alloc"):
            feed(context, A)
        with pytest.raises(InvalidOption, match="no_alloc"):
            context.save_state(seq_id=None, partial=False)
        with Session(model, n_ctx=256) as session, pytest.raises(InvalidOption, match="no_alloc"):
            session.decode(A)


def test_batches_that_are_wrong(make_context: MakeContext, tiny: Model) -> None:
    context = make_context(n_seq_max=2, n_outputs_max=2)
    other = make_context()
    batch = _core.Batch(context)
    row = np.zeros(tiny.n_embd, np.float32)
    nan = row.copy()
    nan[3] = np.nan
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: context.process(batch, encode=False), InvalidOption, "empty"),
        (lambda: batch.add(-1, pos=0, seq_ids=[0], output=False), InvalidOption, "not in the vocabulary"),
        (lambda: batch.add(10**6, pos=0, seq_ids=[0], output=False), InvalidOption, "not in the vocabulary"),
        (lambda: batch.add(1, pos=-1, seq_ids=[0], output=False), InvalidOption, "position is -1"),
        (lambda: batch.add(1, pos=2**40, seq_ids=[0], output=False), InvalidOption, "position"),
        (lambda: batch.add(1, pos=0, seq_ids=[2], output=False), InvalidOption, "sequence id is 2"),
        (lambda: batch.add(1, pos=0, seq_ids=[-1], output=False), InvalidOption, "sequence id is -1"),
        (lambda: batch.add(1, pos=0, seq_ids=[], output=False), InvalidOption, "no sequence"),
        (lambda: batch.extend([1] * 65, pos=0, seq_id=0, every_output=False), ContextFull, "n_batch"),
        (lambda: batch.extend([1, -5], pos=0, seq_id=0, every_output=False), InvalidOption, "Token -5 at index 1"),
        (lambda: batch.extend([1], pos=2**31, seq_id=0, every_output=False), InvalidOption, "position"),
        (lambda: batch.set_output(0, True), InvalidOption, "not in the batch"),
        (lambda: batch.set_embedding(0, row), InvalidOption, "not in the batch"),
        (lambda: batch.add_embedding(row[:-1], pos=[0], seq_ids=[0], output=True), InvalidOption, "n_embd_inp"),
        (lambda: batch.add_embedding(row[None], pos=[0], seq_ids=[0], output=True), InvalidOption, "dimensions"),
        (lambda: batch.add_embedding(nan, pos=[0], seq_ids=[0], output=True), InvalidOption, "finite"),
        (lambda: batch.add_embedding(row, pos=[0, 1], seq_ids=[0], output=True), InvalidOption, "1 positions"),
        (lambda: batch.add("x", pos=0, seq_ids=[0], output=False), TypeError, "incompatible"),  # type: ignore[arg-type]
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()
        assert len(batch) == 0
    batch.extend(A, pos=0, seq_id=0, every_output=True)
    with pytest.raises(InvalidOption, match="4 outputs; n_outputs_max is 2"):
        context.process(batch, encode=False)
    with pytest.raises(InvalidOption, match="another context"):
        other.process(batch, encode=False)
    with pytest.raises(InvalidOption, match="no encoder"):
        context.process(batch, encode=True)
    with pytest.raises(InvalidOption, match="embeddings without tokens"):
        batch.add_embedding(row, pos=[0], seq_ids=[0], output=True)
    assert context.seq_pos_max(0) == -1
    batch.clear()
    batch.extend(A, pos=7, seq_id=0, every_output=False)  # a sequence may begin anywhere
    context.process(batch, encode=False)
    with pytest.raises(InvalidOption, match="refused the batch"):  # and goes on where it ended
        context.process(batch, encode=False)
    assert context.seq_pos_max(0) == 10
    batch.clear()
    batch.add(1, pos=11, seq_ids=[0], output=True)
    batch.add(1, pos=13, seq_ids=[0], output=True)
    with pytest.raises(InvalidOption, match="refused the batch"):
        context.process(batch, encode=False)


def test_a_closed_context_and_its_batch(tiny_path: Path, two_threads: ThreadPool) -> None:
    """In any order, with all that depends on each other still referenced."""
    model = Model(tiny_path)
    context = _core.Context(model._native, pool=two_threads._native, pool_batch=None, n_ctx=256)
    batch = _core.Batch(context)
    batch.extend(A, pos=0, seq_id=0, every_output=False)
    vocab = model.vocab
    model.close()
    context.process(batch, encode=False)  # the model lives on
    context.close()
    context.close()
    for use in (
        lambda: context.process(batch, encode=False),
        lambda: context.n_ctx,
        lambda: context.seq_pos_max(0),
        lambda: context.save_state(seq_id=None, partial=False),
        lambda: _core.Batch(context),
    ):
        with pytest.raises(SessionClosed):
            use()
    batch.clear()
    batch.add(1, pos=0, seq_ids=[0], output=True)
    assert vocab.piece(70, lstrip=0, special=True)
    del model
    gc.collect()
    batch.add(1, pos=1, seq_ids=[0], output=True)


def test_cancel_takes_each_sequence_back(make_context: MakeContext) -> None:
    from llamasmith.errors import Cancelled

    context = make_context(n_ctx=4096, n_batch=2048, n_ubatch=512, n_seq_max=2)
    feed(context, A, seq_id=0)
    batch = _core.Batch(context)
    batch.extend([1] * 1000, pos=4, seq_id=0, every_output=False)
    batch.extend([1] * 1000, pos=0, seq_id=1, every_output=False)
    stop = threading.Event()

    def cancel() -> None:
        while not stop.wait(0.001):
            if context.busy:
                context.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()

    def work() -> None:
        for _ in range(50):  # it may be done before it is cancelled
            context.process(batch, encode=False)
            context.seq_rm(0, 4, -1)
            context.seq_rm(1, -1, -1)

    try:
        with pytest.raises(Cancelled, match="as it was before"):
            work()
    finally:
        stop.set()
        thread.join()
    assert (context.seq_pos_max(0), context.seq_pos_max(1)) == (3, -1)


def test_one_thread_at_a_time(make_context: MakeContext) -> None:
    context = make_context(n_ctx=4096, n_batch=2048, n_ubatch=512)
    batch = _core.Batch(context)
    batch.extend([1] * 2000, pos=0, seq_id=0, every_output=False)
    thread = threading.Thread(target=context.process, args=(batch,), kwargs={"encode": False})
    seen: set[str] = set()
    thread.start()
    while thread.is_alive():
        seen |= {outcome(lambda: context.seq_pos_max(0)), outcome(lambda: batch.set_output(0, False))}
    thread.join()
    assert "SessionBusy" in seen
    assert context.seq_pos_max(0) == 1999


def test_options_that_are_wrong(make_context: MakeContext) -> None:
    for options, message in [
        ({"n_seq_max": 0}, "n_seq_max is 0"),
        ({"n_seq_max": 257}, "n_seq_max is 257"),
        ({"n_seq_max": 65}, "room for a token of each sequence"),
        ({"n_seq_max": 8, "n_ubatch": 4}, "room for a token of each sequence"),
        ({"pooling_type": "max"}, "Allowed: unspecified, none, mean"),
        ({"attention_type": "some"}, "non_causal"),
        ({"rope_scaling_type": "big"}, "longrope"),
        ({"rope_freq_base": float("nan")}, "rope_freq_base is nan"),
        ({"rope_freq_scale": -1.0}, "rope_freq_scale"),
        ({"yarn_ext_factor": float("inf")}, "yarn_ext_factor"),
        ({"yarn_orig_ctx": -1}, "yarn_orig_ctx"),
        ({"n_ctx": -1}, "n_ctx is -1"),
        ({"n_ctx": "many"}, "whole number"),
        ({"n_ctx": 2**70}, "whole number"),
        ({"type_k": "q9"}, "type_k is 'q9'"),
    ]:
        with pytest.raises(InvalidOption, match=message):
            make_context(**options)
    with pytest.raises(TypeError, match="no option 'n_cxt'"):
        make_context(n_cxt=1)


def test_non_causal_attention_is_evaluated_at_once(make_context: MakeContext) -> None:
    context = make_context(n_ctx=256, n_batch=64, n_ubatch=32, attention_type="non_causal")
    assert not context.causal_attn
    batch = _core.Batch(context)
    batch.extend([1] * 40, pos=0, seq_id=0, every_output=False)
    with pytest.raises(InvalidOption, match="n_ubatch is 32"):
        context.process(batch, encode=False)
    context.causal_attn = True
    context.process(batch, encode=False)
