"""What a context remembers: operations on its memory, and states that go round."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contexts import A, B, MakeContext, after, close, feed

from llamasmith.errors import (
    ContextFull,
    InvalidOption,
    InvalidState,
    ModelNotFound,
)

if TYPE_CHECKING:
    from llamasmith import Model


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
