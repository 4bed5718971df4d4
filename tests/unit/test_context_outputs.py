"""What a context gives: logits and embeddings, as copies and as views that end."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from contexts import A, B, MakeContext, after, close, feed

from llamasmith import Model, Session
from llamasmith._native import _core
from llamasmith.errors import (
    InvalidOption,
    OutputExpired,
    SessionBusy,
)


def test_every_output(make_context: MakeContext) -> None:
    context = make_context(n_outputs_max=8)
    one_by_one = [after(context, [token]) for token in A]
    context.memory_clear(data=True)
    feed(context, A, every_output=True)
    for row, expected in enumerate(one_by_one):
        assert close(context.logits(row, copy=True), expected)
    assert close(context.logits(None, copy=True), np.stack(one_by_one))


def test_views_show_outputs_and_then_end(make_context: MakeContext) -> None:
    context = make_context(n_outputs_max=4)
    feed(context, A, every_output=True)
    kept = context.logits(None, copy=True)
    view = context.logits(None, copy=False)
    part, row = view[1:3], context.logits(2, copy=False)
    assert view.shape == kept.shape
    assert len(view) == 4
    assert view.dtype == np.float32
    assert np.array_equal(view.copy(), kept)
    assert np.array_equal(np.asarray(part), kept[1:3])
    assert np.argmax(row) == row.argmax() == int(kept[2].argmax())
    assert np.array_equal(np.exp(row - row.max()), np.exp(kept[2] - kept[2].max()))
    assert np.array_equal(view.T.copy(), kept.T)
    assert type(view.T) is type(view)
    assert not isinstance(view + 1, type(view))
    with pytest.raises(ValueError, match="read-only"):
        view.__array__(copy=False)[0] = 1
    gc.collect()  # the array above
    feed(context, [70])
    for stale in (view, part, row):
        assert stale.expired
        assert "expired" in repr(stale)
        for use in (
            lambda v: v[0],
            lambda v: v.max(),
            lambda v: v + 1,
            lambda v: np.asarray(v),
            lambda v: np.argmax(v),
            lambda v: len(v),
            lambda v: v.shape,
            lambda v: list(v),
        ):
            with pytest.raises(OutputExpired, match="copy=True"):
                use(stale)
    assert np.array_equal(kept, kept)


def test_many_views_end_at_once(make_context: MakeContext) -> None:
    context = make_context()
    feed(context, A)
    views = [context.logits(-1, copy=False) for _ in range(20000)]
    parts = [views[0][:5] for _ in range(100)]
    feed(context, [70])
    assert all(view.expired for view in (*views, *parts))


def test_a_context_dropped_with_views(tiny: Model) -> None:
    session = Session(tiny, n_ctx=256, n_threads=1)
    session.decode(A)
    view = session._context.logits(-1, copy=False)
    expected = view.copy()
    del session
    gc.collect()
    assert np.array_equal(np.asarray(view), expected)  # nothing has changed: the view keeps what it shows


@pytest.mark.parametrize("end", ["close", "reset", "memory"])
def test_views_end_with_what_they_show(tiny: Model, end: str) -> None:
    session = Session(tiny, n_ctx=256, n_threads=1)
    session.decode(A)
    view = session._context.logits(-1, copy=False)
    if end == "close":
        session.close()
    elif end == "reset":
        session.reset()
    else:
        session._context.seq_rm(0, 1, -1)
        assert not view.expired  # outputs are not the memory
        session.close()
    with pytest.raises(OutputExpired):
        view.max()
    session.close()


def test_an_array_without_a_copy_holds_the_memory(make_context: MakeContext) -> None:
    context = make_context(n_outputs_max=16)
    feed(context, A)
    raw = context.logits(-1, copy=False).__array__(copy=False)
    before = raw.copy()
    with pytest.raises(SessionBusy, match="copy=False"):
        feed(context, [1] * 9, every_output=True)
    assert np.array_equal(raw, before)
    context.close()
    assert np.array_equal(raw, before)  # it keeps what it shows alive
    other = make_context(n_outputs_max=16)
    feed(other, A)
    raw = other.logits(-1, copy=False).__array__(copy=False)
    del raw
    gc.collect()
    feed(other, [1] * 9, every_output=True)


def test_embeddings_of_tokens_and_sequences(make_context: MakeContext, tiny: Model) -> None:
    n_embd = tiny.facts["n_embd_out"]
    rows = make_context(embeddings=True, pooling_type="none")
    feed(rows, A)
    every = rows.embeddings(None, copy=True)
    assert every.shape == (4, n_embd)
    assert np.array_equal(rows.embeddings(1, copy=True), every[1])
    assert np.array_equal(np.asarray(rows.embeddings(-1, copy=False)), every[-1])
    mean = make_context(embeddings=True, pooling_type="mean", n_seq_max=2, kv_unified=True)
    batch = _core.Batch(mean)
    batch.extend(A, pos=0, seq_id=0, every_output=True)
    batch.extend(B, pos=0, seq_id=1, every_output=True)
    mean.process(batch, encode=False)
    assert mean.pooling_type == "mean"
    assert close(mean.pooled_embedding(0), every.mean(axis=0))
    assert not close(mean.pooled_embedding(0), mean.pooled_embedding(1))
    apart = make_context(embeddings=True, pooling_type="mean", n_seq_max=2)
    feed(apart, A)
    assert close(apart.pooled_embedding(0), every.mean(axis=0))
    parts = _core.Batch(apart)
    parts.extend(A, pos=4, seq_id=0, every_output=True)
    parts.extend(B, pos=0, seq_id=1, every_output=True)
    with pytest.raises(InvalidOption, match="kv_unified=True"):  # llama.cpp would pool a part of them
        apart.process(parts, encode=False)
    last = make_context(embeddings=True, pooling_type="last")
    feed(last, A)
    assert close(last.pooled_embedding(0), every[-1])
    with pytest.raises(InvalidOption, match="pooling_type='mean'"):
        mean.embeddings(0, copy=True)
    with pytest.raises(InvalidOption, match="pooling_type other than"):
        rows.pooled_embedding(0)
    feed(mean, B, seq_id=1)
    with pytest.raises(InvalidOption, match="was not in the last batch"):
        mean.pooled_embedding(0)


def test_embeddings_instead_of_tokens(make_context: MakeContext, tiny: Model) -> None:
    table = tiny.token_embeddings()
    assert table.shape == (tiny.n_vocab, tiny.n_embd)
    context = make_context()
    expected = after(context, A)
    context.memory_clear(data=True)
    batch = _core.Batch(context)
    assert batch.n_pos == 1
    for i, token in enumerate(A):
        batch.add_embedding(table[token], pos=[i], seq_ids=[0], output=i == len(A) - 1)
    context.process(batch, encode=False)
    assert close(context.logits(-1, copy=True), expected)


def test_outputs_that_are_not_there(make_context: MakeContext) -> None:
    context = make_context(n_seq_max=1)
    with pytest.raises(InvalidOption, match="no batch has been evaluated"):
        context.logits(-1, copy=True)
    feed(context, A)
    for row, message in [(0, "without output=True"), (4, "not in the last batch"), (-2, "not in the last batch")]:
        with pytest.raises(InvalidOption, match=message):
            context.logits(row, copy=False)
    with pytest.raises(InvalidOption, match="embeddings=False"):
        context.embeddings(-1, copy=True)
    batch = _core.Batch(context)
    batch.add(70, pos=4, seq_ids=[0], output=False)
    context.process(batch, encode=False)
    with pytest.raises(InvalidOption, match="asked for no output"):
        context.logits(-1, copy=True)
    with pytest.raises(InvalidOption, match="n_outputs_max"):
        context.set_embeddings(True)
