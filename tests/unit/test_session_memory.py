"""What a session keeps from call to call: prefixes, forks, files, and room that is made."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from llamasmith import Session
from llamasmith.errors import InvalidOption, InvalidState, ModelNotFound, SessionBusy, SessionClosed

if TYPE_CHECKING:
    from pathlib import Path

GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}
PROMPT = [1, *range(40, 100)]


def alone(tiny: Any, tokens: list[int], n: int = 12) -> tuple[int, ...]:
    """What a new session makes of a prompt."""
    with Session(tiny, n_ctx=256, n_threads=1) as session:
        tokens_made: tuple[int, ...] = session.generate(tokens, max_tokens=n, **GREEDY).tokens
        return tokens_made


def test_the_same_prompt_again_costs_one_token(session: Any) -> None:
    first = session.generate(PROMPT, max_tokens=12, **GREEDY)
    again = session.generate(PROMPT, max_tokens=12, **GREEDY)
    assert first.timings.reused_tokens == 0
    assert again.timings.reused_tokens == len(PROMPT) - 1
    assert again.tokens == first.tokens


def test_what_differs_is_evaluated_anew(session: Any, tiny: Any) -> None:
    session.generate(PROMPT, max_tokens=5, **GREEDY)
    other = [*PROMPT[:30], 200, 201, 202]
    result = session.generate(other, max_tokens=12, **GREEDY)
    assert result.timings.reused_tokens == 30
    assert result.tokens == alone(tiny, other)
    assert session.tokens == [*other, *result.tokens[:-1]]


def test_an_answer_is_reused_too(session: Any, tiny: Any) -> None:
    """The next turn of a conversation: prompt, answer, and something new."""
    answer = session.generate(PROMPT, max_tokens=8, **GREEDY).tokens
    longer = [*PROMPT, *answer, 150, 151]
    result = session.generate(longer, max_tokens=6, **GREEDY)
    assert result.timings.reused_tokens == len(PROMPT) + len(answer) - 1  # the last one was chosen, not evaluated
    assert result.tokens == alone(tiny, longer, 6)


def test_reuse_can_be_left_out(session: Any) -> None:
    session.generate(PROMPT, max_tokens=3, **GREEDY)
    assert session.generate(PROMPT, max_tokens=3, reuse=False, **GREEDY).timings.reused_tokens == 0


def test_adapters_end_what_prompts_have_in_common(session: Any) -> None:
    session.generate(PROMPT, max_tokens=3, **GREEDY)
    session.set_control_vector(np.full((1, 64), 0.5, dtype=np.float32))
    changed = session.generate(PROMPT, max_tokens=3, **GREEDY)
    assert changed.timings.reused_tokens == 0
    assert session.generate(PROMPT, max_tokens=3, **GREEDY).timings.reused_tokens == len(PROMPT) - 1


def test_forks_go_on_from_the_same_place(tiny: Any) -> None:
    with Session(tiny, n_ctx=512, n_threads=2, max_forks=2) as session:
        session.decode(PROMPT)
        forks = [session.fork(), session.fork()]
        ends = [[110, 111], [120, 121], [130, 131]]
        made = [
            one.generate([*PROMPT, *end], max_tokens=10, **GREEDY)
            for one, end in zip([session, *forks], ends, strict=True)
        ]
        for result, end in zip(made, ends, strict=True):
            assert result.timings.reused_tokens == len(PROMPT)
            assert result.tokens == alone(tiny, [*PROMPT, *end], 10)


def test_forks_take_turns_token_by_token(tiny: Any) -> None:
    with Session(tiny, n_ctx=512, n_threads=2, max_forks=1) as session:
        expected = [alone(tiny, [*PROMPT, 110], 10), alone(tiny, [*PROMPT, 120], 10)]
        session.decode(PROMPT)
        streams = [
            one.stream([*PROMPT, end], max_tokens=10, **GREEDY) for one, end in ((session, 110), (session.fork(), 120))
        ]
        open_ones = list(streams)
        while open_ones:
            open_ones = [stream for stream in open_ones if next(stream, None) is not None]
        assert [stream.result.tokens for stream in streams] == expected


def test_a_fork_outlives_its_origin(tiny: Any) -> None:
    session = Session(tiny, n_ctx=512, n_threads=1, max_forks=1)
    session.decode(PROMPT)
    fork = session.fork()
    session.close()
    with pytest.raises(SessionClosed):
        session.decode([1])
    assert fork.generate([*PROMPT, 5], max_tokens=4, **GREEDY).tokens == alone(tiny, [*PROMPT, 5], 4)
    fork.close()
    with pytest.raises(SessionClosed):
        fork.decode([1])


def test_closed_forks_make_room_for_others(tiny: Any) -> None:
    with Session(tiny, n_ctx=256, n_threads=1, max_forks=1) as session:
        session.decode(PROMPT)
        for _ in range(10):
            with session.fork() as fork:
                fork.decode([1, 2, 3] * 40)  # two of them would not fit
                with pytest.raises(InvalidOption, match="sequences"):
                    session.fork()
        assert session.n_past == len(PROMPT)


def test_without_max_forks_there_are_none(session: Any) -> None:
    with pytest.raises(InvalidOption, match="sequences of the context are in use"):
        session.fork()


def test_shift_makes_room(tiny: Any) -> None:
    with Session(tiny, n_ctx=256, n_threads=1) as session:
        result = session.generate(PROMPT, max_tokens=500, context_shift=True, n_keep=10, **GREEDY)
        assert result.stop_reason == "length"
        assert len(result.tokens) == 500
        assert result.timings.shifted_tokens > 250
        assert session.tokens[:10] == PROMPT[:10]
        assert session.tokens[10:] == list(result.tokens)[-len(session.tokens) + 9 : -1]
        # what comes after a shift depends on tokens that are gone
        again = session.generate(session.tokens, max_tokens=2, **GREEDY)
        assert again.timings.reused_tokens == 10


def test_shift_is_refused_where_memory_is_shared(tiny: Any) -> None:
    with (
        Session(tiny, n_ctx=256, n_threads=1, max_forks=1) as session,
        pytest.raises(InvalidOption, match="max_forks=0"),
    ):
        session.generate("a", context_shift=True)
    with Session(tiny, n_ctx=256, n_threads=1) as session, pytest.raises(InvalidOption, match="n_keep"):
        session.generate("a", context_shift=True, n_keep=256)


def test_files_carry_tokens_and_memory(tiny: Any, tmp_path: Path) -> None:
    path = tmp_path / "session.bin"
    with Session(tiny, n_ctx=256, n_threads=1) as one, Session(tiny, n_ctx=256, n_threads=1) as other:
        one.decode(PROMPT)
        one.save(path)
        other.decode([1, 2, 3])
        other.load(path)
        assert other.tokens == PROMPT
        np.testing.assert_array_equal(one.decode([7]), other.decode([7]))
        result = other.generate([*PROMPT, 7, 8], max_tokens=4, **GREEDY)
        assert result.timings.reused_tokens == len(PROMPT) + 1


def test_states_carry_tokens_and_memory(tiny: Any) -> None:
    with Session(tiny, n_ctx=256, n_threads=1) as one, Session(tiny, n_ctx=256, n_threads=1) as other:
        one.decode(PROMPT)
        other.load_state(one.save_state())
        assert other.tokens == PROMPT
        np.testing.assert_array_equal(one.decode([7]), other.decode([7]))


def test_a_fork_takes_a_state(tiny: Any) -> None:
    with Session(tiny, n_ctx=512, n_threads=1, max_forks=1) as one, one.fork() as fork:
        one.decode(PROMPT)
        fork.load_state(one.save_state())
        np.testing.assert_allclose(one.decode([7]), fork.decode([7]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cut", [0, 5, 19, 25, 60])
def test_damaged_states_are_refused(session: Any, cut: int) -> None:
    session.decode(PROMPT[:20])
    state = session.save_state()
    with pytest.raises(InvalidState):
        session.load_state(state[:cut])
    broken = bytearray(state)
    broken[min(cut, len(state) - 1)] ^= 0xFF
    with pytest.raises(InvalidState):
        session.load_state(bytes(broken))
    assert session.generate("a", max_tokens=2, **GREEDY).tokens  # alive


def test_missing_and_damaged_files(session: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        session.load(tmp_path / "none.bin")
    (tmp_path / "bad.bin").write_bytes(b"no state at all")
    with pytest.raises(InvalidState):
        session.load(tmp_path / "bad.bin")


def test_a_busy_session_can_be_waited_for(tiny: Any) -> None:
    results: list[int] = []
    with Session(tiny, n_ctx=512, n_threads=1, on_busy="wait") as session:

        def work() -> None:
            for _ in range(5):
                made = session.generate([1, 50], max_tokens=20, **GREEDY)
                results.append(len(made.tokens))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [20] * 20


def test_a_busy_session_is_refused_by_default(tiny: Any) -> None:
    with Session(tiny, n_ctx=512, n_threads=1, max_forks=1) as session:
        fork = session.fork()
        seen: list[type[BaseException]] = []
        started = threading.Event()

        def work() -> None:
            started.set()
            try:
                session.generate([1, 50], max_tokens=400, **GREEDY)
            except SessionBusy as error:
                seen.append(type(error))

        thread = threading.Thread(target=work)
        thread.start()
        started.wait()
        while thread.is_alive():
            try:
                fork.decode([1])
                fork.reset()
            except SessionBusy as error:  # noqa: PERF203 (it is what is asked for)
                seen.append(type(error))
                session.cancel()
        thread.join()
        assert SessionBusy in seen
        with pytest.raises(InvalidOption, match="on_busy"):
            Session(tiny, on_busy="queue")


def test_cancel_stops_one_fork_alone(tiny: Any) -> None:
    with Session(tiny, n_ctx=512, n_threads=1, max_forks=1) as session:
        fork = session.fork()
        fork.cancel()  # nothing of it is under way
        assert session.generate([1, 50], max_tokens=20, **GREEDY).stop_reason == "length"


def test_unknown_options_are_named(tiny: Any, session: Any) -> None:
    with pytest.raises(TypeError, match=r"'temperatur' for generating. Did you mean 'temperature'"):
        session.generate("a", temperatur=1.0)
    with pytest.raises(TypeError, match=r"'n_thread' for a Session. Did you mean 'n_threads'"):
        Session(tiny, n_thread=2)


def test_going_on_takes_the_last_token_along(tiny: Any) -> None:
    """It was chosen, but not yet evaluated."""
    with Session(tiny, n_ctx=256, n_threads=1, max_forks=1) as session, Session(tiny, n_ctx=256, n_threads=1) as other:
        whole = session.generate(PROMPT, max_tokens=12, **GREEDY).tokens
        part = session.generate(PROMPT, max_tokens=5, **GREEDY).tokens
        assert part == whole[:5]
        assert session.generate(whole[5:6], append=True, max_tokens=6, **GREEDY).tokens == whole[6:]
        assert session.tokens == [*PROMPT, *whole[:-1]]

        session.generate(PROMPT, max_tokens=5, **GREEDY)
        state = session.save_state()
        fork = session.fork()
        assert session.tokens == fork.tokens == [*PROMPT, *whole[:5]]
        logits = session.decode(whole[5:7])
        assert int(logits.argmax()) == whole[7]
        other.load_state(state)
        assert other.tokens == [*PROMPT, *whole[:5]]
        assert int(other.decode(whole[5:7]).argmax()) == whole[7]


def test_a_broken_stream_can_be_gone_on_from(session: Any) -> None:
    whole = session.generate(PROMPT, max_tokens=20, **GREEDY).tokens
    stream = session.stream(PROMPT, max_tokens=20, **GREEDY)
    for _ in stream:
        if len(stream.result.tokens) >= 6:
            break
    made = stream.result.tokens
    more = session.generate(whole[len(made) : len(made) + 1], append=True, max_tokens=4, **GREEDY)
    assert more.tokens == whole[len(made) + 1 : len(made) + 5]


def test_a_prompt_that_was_given_up_takes_no_room(tiny: Any) -> None:
    with Session(tiny, n_ctx=256, n_threads=1) as session:
        session.stream([1, *[50] * 200])  # nobody reads it
        assert len(session.generate([1, *[60] * 100], append=True, max_tokens=5, **GREEDY).tokens) == 5
        assert session.n_past == 105
