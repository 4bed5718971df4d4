"""Many requests at once: each gets what it would have got alone."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from llamasmith import BatchSession, Session
from llamasmith.errors import Cancelled, ContextFull, InvalidOption, SessionBusy, SessionClosed
from llamasmith.samplers import Custom, Greedy, TopK

GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}
PROMPTS = [[1, *range(40, 40 + 3 * n)] for n in range(1, 12)]
SHARED = [[1, *range(40, 100), *range(100, 100 + n)] for n in range(1, 9)]


def one_by_one(tiny: Any, prompts: list[list[int]], **options: Any) -> list[tuple[int, ...]]:
    with Session(tiny, n_ctx=256, n_threads=1) as session:
        return [session.generate(prompt, reuse=False, **{**GREEDY, **options}).tokens for prompt in prompts]


@pytest.mark.parametrize("share_prefix", [False, True])
@pytest.mark.parametrize("prompts", [PROMPTS, SHARED], ids=["different", "alike"])
def test_each_gets_what_it_would_have_got_alone(tiny: Any, prompts: list[list[int]], share_prefix: bool) -> None:
    with BatchSession(tiny, n_parallel=4, n_ctx=256, n_threads=2, share_prefix=share_prefix) as batch:
        results = batch.generate(prompts, max_tokens=12, **GREEDY)
    assert [result.tokens for result in results] == one_by_one(tiny, prompts, max_tokens=12)
    assert {result.stop_reason for result in results} == {"length"}
    if share_prefix and prompts is SHARED:
        assert sum(result.timings.reused_tokens for result in results) >= 60 * (len(prompts) - 4)


def test_requests_join_and_leave(tiny: Any) -> None:
    with BatchSession(tiny, n_parallel=2, n_ctx=256, n_threads=1) as batch:
        long = batch.submit(PROMPTS[0], max_tokens=40, **GREEDY)
        short = batch.submit(PROMPTS[1], max_tokens=3, **GREEDY)
        late = batch.submit(PROMPTS[2], max_tokens=3, **GREEDY)
        assert (batch.n_running, batch.n_waiting) == (0, 3)
        assert batch.step() == []
        assert (batch.n_running, batch.n_waiting) == (2, 1)
        order = list(batch.as_completed())
        assert order == [short, late, long]
        assert [len(request.result.tokens) for request in order] == [3, 3, 40]
        assert (batch.n_running, batch.n_waiting) == (0, 0)
        assert batch.step() == []


def test_a_request_streams_while_others_go_on(tiny: Any) -> None:
    with BatchSession(tiny, n_parallel=3, n_ctx=256, n_threads=1) as batch:
        requests = [batch.submit(prompt, max_tokens=20, **GREEDY) for prompt in PROMPTS[:3]]
        texts = ["".join(request) for request in requests]
        assert texts == [request.result.text for request in requests]
        assert [request.result.tokens for request in requests] == one_by_one(tiny, PROMPTS[:3], max_tokens=20)


def test_results_so_far_and_cancelling(tiny: Any) -> None:
    with BatchSession(tiny, n_parallel=2, n_ctx=256, n_threads=1) as batch:
        first, second, third = (batch.submit(prompt, max_tokens=30, **GREEDY) for prompt in PROMPTS[:3])
        batch.step(5)
        assert len(first.result.tokens) == 5
        assert not first.done
        first.cancel()
        third.cancel()
        assert first.done
        assert first.result.stop_reason == third.result.stop_reason == "cancelled"
        assert len(first.result.tokens) == 5
        assert third.result.tokens == ()
        assert list(batch.as_completed()) == [second]
        assert len(second.result.tokens) == 30


def test_prompts_longer_than_a_batch_take_several_steps(tiny: Any) -> None:
    prompts = [[1, *[40 + i % 60 for i in range(100)]], [1, 99]]
    with BatchSession(tiny, n_parallel=2, n_ctx=256, n_batch=16, n_ubatch=16, n_threads=1) as batch:
        results = batch.generate(prompts, max_tokens=9, **GREEDY)
    assert [result.tokens for result in results] == one_by_one(tiny, prompts, max_tokens=9)


def test_the_end_of_a_context_ends_a_request(tiny: Any) -> None:
    with BatchSession(tiny, n_parallel=2, n_ctx=256, n_threads=1) as batch:
        ends, other = batch.generate([PROMPTS[3], PROMPTS[4]], max_tokens=None, **GREEDY)
        assert ends.stop_reason == other.stop_reason == "context"
        assert len(ends.tokens) + len(PROMPTS[3]) == 257


def test_shared_room_is_waited_for(tiny: Any) -> None:
    with BatchSession(tiny, n_parallel=4, n_ctx=64, n_threads=1, share_prefix=True) as batch:
        assert batch.n_ctx == 256
        requests = [batch.submit(prompt, max_tokens=100, **GREEDY) for prompt in PROMPTS[:6]]
        batch.step()
        assert batch.n_running == 2  # a third one might not fit in the end
        list(batch.as_completed())
        assert [request.result.tokens for request in requests] == one_by_one(tiny, PROMPTS[:6], max_tokens=100)


def test_a_sampler_that_fails_ends_its_request_alone(tiny: Any) -> None:
    class Broken(Exception):
        pass

    def fail(ids: Any, logits: Any) -> None:
        raise Broken("no")

    with BatchSession(tiny, n_parallel=2, n_ctx=256, n_threads=1) as batch:
        good = batch.submit(PROMPTS[0], max_tokens=5, **GREEDY)
        bad = batch.submit(PROMPTS[1], max_tokens=5, samplers=[TopK(5), Custom(fail), Greedy()])
        assert set(batch.as_completed()) == {good, bad}
        assert len(good.result.tokens) == 5
        with pytest.raises(Broken):
            _ = bad.result
        assert "failed" in repr(bad)


def test_a_chain_is_cloned_for_each_request(tiny: Any) -> None:
    from llamasmith.samplers import Penalties, sampler_chain

    chain = sampler_chain(tiny, [Penalties(repeat=1.5), Greedy()])
    with BatchSession(tiny, n_parallel=3, n_ctx=256, n_threads=1) as batch:
        results = batch.generate([PROMPTS[2]] * 3, max_tokens=10, ignore_eos=True, samplers=chain)
    assert len({result.tokens for result in results}) == 1


def test_bad_requests_are_refused_and_cost_nothing(tiny: Any) -> None:
    with BatchSession(tiny, n_parallel=2, n_ctx=256, n_threads=1) as batch:
        with pytest.raises(ContextFull, match="256"):
            batch.submit([1] * 257)
        with pytest.raises(InvalidOption, match="no tokens"):
            batch.submit([])
        with pytest.raises(InvalidOption, match="vocabulary"):
            batch.submit([1, 5000])
        with pytest.raises(TypeError, match="Did you mean 'max_tokens'"):
            batch.submit("a", max_token=3)
        assert batch.n_waiting == 0
    with pytest.raises(SessionClosed):
        batch.submit("a")
    with pytest.raises(InvalidOption, match="n_parallel"):
        BatchSession(tiny, n_parallel=257)


def test_one_thread_at_a_time_and_cancel(tiny: Any) -> None:
    with BatchSession(tiny, n_parallel=2, n_ctx=256, n_threads=1) as batch:
        requests = [batch.submit(prompt, max_tokens=200, **GREEDY) for prompt in PROMPTS[:2]]
        seen: list[type[BaseException]] = []

        def work() -> None:
            try:
                batch.step(1000)
            except Cancelled as error:
                seen.append(type(error))

        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive():
            try:
                _ = batch.n_running
            except SessionBusy:  # noqa: PERF203 (it is what is waited for)
                batch.cancel()
        thread.join()
        list(batch.as_completed())
        assert [request.result.tokens for request in requests] == one_by_one(tiny, PROMPTS[:2], max_tokens=200)


def test_dropped_requests_and_sessions_leave_nothing(tiny: Any) -> None:
    batch = BatchSession(tiny, n_parallel=2, n_ctx=256, n_threads=1)
    request = batch.submit("hello", max_tokens=3, **GREEDY)
    del batch
    assert len(request.result.tokens) == 0  # it keeps the batch
    assert len("".join(request)) >= 0
    assert request.done
