"""Contexts of many sequences: batches, outputs, memory, states."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contexts import MakeContext, after, feed, outcome

from llamasmith import Model, Session, ThreadPool
from llamasmith._native import _core
from llamasmith.errors import (
    ContextFull,
    InvalidOption,
    InvalidState,
    ModelNotFound,
    OutputExpired,
    SessionBusy,
    SessionClosed,
)

A, B = [1, 70, 75, 80], [1, 90, 91]


def close(x: Any, y: Any) -> bool:
    return bool(np.allclose(np.asarray(x), np.asarray(y), rtol=1e-3, atol=1e-3))


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
        assert session._native.seq_pos_max(0) == 3
        session._native.seq_rm(0, 2, -1)
        assert session.n_past == 2
        assert close(session.decode(A[2:]), expected)
    assert close(after(make_context(), A), expected)


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
    view = session._native.logits(-1, copy=False)
    expected = view.copy()
    del session
    gc.collect()
    assert np.array_equal(np.asarray(view), expected)  # nothing has changed: the view keeps what it shows


@pytest.mark.parametrize("end", ["close", "reset", "memory"])
def test_views_end_with_what_they_show(tiny: Model, end: str) -> None:
    session = Session(tiny, n_ctx=256, n_threads=1)
    session.decode(A)
    view = session._native.logits(-1, copy=False)
    if end == "close":
        session.close()
    elif end == "reset":
        session.reset()
    else:
        session._native.seq_rm(0, 1, -1)
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


def test_memory_operations(make_context: MakeContext) -> None:
    context = make_context(n_seq_max=3, kv_unified=True)
    feed(context, A, seq_id=0)
    context.seq_cp(0, 1, -1, -1)
    assert context.seq_pos_max(1) == 3
    assert context.seq_pos_min(1) == 0
    context.seq_cp(0, 2, 0, 2)
    assert context.seq_pos_max(2) == 1
    assert close(after(context, [99], seq_id=1), after(context, [99], seq_id=0))
    assert context.seq_rm(1, 2, -1)
    assert context.seq_pos_max(1) == 1
    assert context.can_shift
    context.seq_add(1, 0, -1, 5)
    assert (context.seq_pos_min(1), context.seq_pos_max(1)) == (5, 6)
    context.seq_div(1, 0, -1, 2)
    assert (context.seq_pos_min(1), context.seq_pos_max(1)) == (2, 3)
    context.seq_keep(0)
    assert (context.seq_pos_max(0), context.seq_pos_max(1), context.seq_pos_max(2)) == (4, -1, -1)
    assert context.seq_rm(-1, -1, -1)
    assert context.seq_pos_max(0) == -1


def test_context_shift_goes_on(make_context: MakeContext) -> None:
    """Half of a full context forgotten, the rest moved down: decoding works on, with numbers."""
    context = make_context(n_ctx=256, n_batch=256, n_ubatch=256)
    feed(context, [1] * 256)
    with pytest.raises(ContextFull):
        feed(context, [70])
    assert context.seq_rm(0, 4, 130)
    context.seq_add(0, 130, -1, 4 - 130)
    assert context.seq_pos_max(0) == 129
    assert np.isfinite(after(context, [70])).all()
    assert context.seq_pos_max(0) == 130


@pytest.mark.parametrize("unified", [False, True])
def test_copies_between_sequences_are_whole_or_unified(make_context: MakeContext, unified: bool) -> None:
    context = make_context(n_seq_max=2, kv_unified=unified)
    feed(context, A, seq_id=0)
    feed(context, B, seq_id=1)
    if not unified:
        with pytest.raises(InvalidOption, match="kv_unified"):
            context.seq_cp(0, 1, 0, 2)
        context.seq_cp(0, 1, 0, 4)
    else:
        context.seq_rm(1, -1, -1)
        context.seq_cp(0, 1, -1, -1)
    assert context.seq_pos_max(1) == 3
    assert close(after(context, [99], seq_id=1), after(context, [99], seq_id=0))


def test_states_go_round(make_context: MakeContext, tmp_path: Path) -> None:
    one = make_context(n_seq_max=2)
    feed(one, A, seq_id=0)
    feed(one, B, seq_id=1)
    whole, first = one.save_state(seq_id=None, partial=False), one.save_state(seq_id=0, partial=False)
    one.save_state_file(str(tmp_path / "one.bin"), tokens=B, seq_id=1)
    one.save_state_file(str(tmp_path / "all.bin"), tokens=A, seq_id=None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.bin", "one.bin"]
    of_a, of_b = after(one, [99], seq_id=0), after(one, [99], seq_id=1)

    two = make_context(n_seq_max=2)
    two.load_state(whole, seq_id=None)
    assert np.array_equal(after(two, [99], seq_id=0), of_a)
    assert np.array_equal(after(two, [99], seq_id=1), of_b)
    two.memory_clear(data=True)
    two.load_state(first, seq_id=1)  # into another sequence
    assert two.seq_pos_max(0) == -1
    assert np.array_equal(after(two, [99], seq_id=1), of_a)
    two.memory_clear(data=True)
    assert two.load_state_file(str(tmp_path / "one.bin"), seq_id=0) == B
    assert np.array_equal(after(two, [99], seq_id=0), of_b)
    assert two.load_state_file(str(tmp_path / "all.bin"), seq_id=None) == A
    assert np.array_equal(after(two, [99], seq_id=0), of_a)


def test_bytes_that_are_no_state(make_context: MakeContext, tiny: Model, tmp_path: Path) -> None:
    context = make_context(n_seq_max=2)
    feed(context, A)
    whole, one = context.save_state(seq_id=None, partial=False), context.save_state(seq_id=0, partial=False)
    flipped = bytearray(one)
    flipped[len(one) // 2] ^= 1
    for bad, seq_id, message in [
        (b"", None, "save_state"),
        (b"x" * 1000, 0, "save_state"),
        (one[:-1], 0, "cut short"),
        (bytes(flipped), 0, "damaged"),
        (one, None, "Give seq_id"),
        (whole, 0, "Leave seq_id out"),
    ]:
        with pytest.raises(InvalidState, match=message):
            context.load_state(bad, seq_id=seq_id)
        assert context.seq_pos_max(0) == 3
    with pytest.raises(InvalidState, match="does not fit"):  # another type of cache
        make_context(n_seq_max=2, type_k="f32").load_state(one, seq_id=0)
    with pytest.raises(InvalidState, match="n_seq_max"):
        make_context(n_seq_max=1).load_state(whole, seq_id=None)
    path = tmp_path / "state"
    for content, message in [(b"", "not llama.cpp's"), (b"x" * 100, "not llama.cpp's")]:
        path.write_bytes(content)
        with pytest.raises(InvalidState, match=message):
            context.load_state_file(str(path), seq_id=None)
    context.save_state_file(str(path), tokens=A, seq_id=0)
    sound = path.read_bytes()
    for content in (sound[:-5], sound[:10], sound[:8] + b"\xff\xff\xff\x7f" + sound[12:]):
        path.write_bytes(content)
        with pytest.raises(InvalidState):
            context.load_state_file(str(path), seq_id=1)
    with pytest.raises(ModelNotFound):
        context.load_state_file(str(tmp_path / "absent"), seq_id=None)
    with pytest.raises(ModelNotFound):
        context.save_state_file(str(tmp_path / "absent" / "state"), tokens=A, seq_id=None)


def test_mutated_states_never_end_the_interpreter(make_context: MakeContext) -> None:
    """With a checksum that is right, so that upstream's own reading is reached: through its files."""
    import random
    import tempfile

    context = make_context(n_ctx=256, n_seq_max=2)
    feed(context, A)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        context.save_state_file(str(path), tokens=A, seq_id=0)
        sound = path.read_bytes()
        outcomes = set()
        for seed in range(150):
            chance = random.Random(seed)
            mutant = bytearray(sound)
            for _ in range(chance.randint(1, 3)):
                mutant[chance.randrange(0, 200)] = chance.randrange(256)
            path.write_bytes(mutant)
            try:
                context.load_state_file(str(path), seq_id=1)
                outcomes.add("loaded")
            except InvalidState:
                outcomes.add("refused")
        assert outcomes == {"loaded", "refused"}
    context.memory_clear(data=True)
    assert np.isfinite(after(context, A)).all()


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


def test_memory_ranges_that_are_wrong(make_context: MakeContext) -> None:
    context = make_context(n_seq_max=2)
    feed(context, A)
    huge = 2**62
    for call in (
        lambda: context.seq_rm(2, 0, 1),
        lambda: context.seq_rm(-2, 0, 1),
        lambda: context.seq_rm(0, 5, 3),
        lambda: context.seq_rm(0, huge, -1),
        lambda: context.seq_rm(0, -7, -1),
        lambda: context.seq_cp(0, 5, -1, -1),
        lambda: context.seq_cp(-1, 0, -1, -1),
        lambda: context.seq_keep(9),
        lambda: context.seq_add(0, 0, -1, -1),
        lambda: context.seq_add(0, 0, -1, huge),
        lambda: context.seq_add(7, 0, -1, 1),
        lambda: context.seq_div(0, 0, -1, 0),
        lambda: context.seq_div(0, 0, -1, -3),
        lambda: context.seq_pos_min(-1),
        lambda: context.seq_pos_max(2),
        lambda: context.save_state(seq_id=2, partial=False),
        lambda: context.save_state(seq_id=None, partial=True),
    ):
        with pytest.raises(InvalidOption):
            call()
    assert context.seq_pos_max(0) == 3


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
