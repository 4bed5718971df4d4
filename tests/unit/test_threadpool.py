from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llamasmith import Session, ThreadPool, thread_budget
from llamasmith.errors import InvalidOption, SessionClosed

POLICIES = ("spin", "yield", "park", "adaptive")
TOKENS = [1, 40, 50, 60, 70]


def counters_after(tiny: Any, wait: str) -> Any:
    with Session(tiny, n_ctx=64, n_threads=2, wait=wait) as session:
        session.generate(TOKENS, max_tokens=10, temperature=0, ignore_eos=True)
        return session.counters()


@pytest.mark.parametrize("n_threads", [1, 2, 3, 4])
def test_waiting_changes_no_bit_of_the_result(tiny: Any, n_threads: int) -> None:
    results = []
    for wait in POLICIES:
        with Session(tiny, n_ctx=64, n_threads=n_threads, wait=wait) as session:
            results.append([session.decode(TOKENS), *(session.decode([token]) for token in range(3, 13))])
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_each_policy_waits_its_own_way(tiny: Any) -> None:
    spin, yields, park = (counters_after(tiny, wait) for wait in ("spin", "yield", "park"))
    # A thread may still be about to count its last barrier when the first one is done with the graph.
    assert yields.barriers == pytest.approx(spin.barriers, abs=2)
    assert park.barriers == pytest.approx(spin.barriers, abs=2)
    assert spin.barriers > 100
    assert spin.spins > 0
    assert spin.yields == 0
    assert yields.yields > 0
    assert yields.spins == 0
    assert park.parks > 0
    assert min(spin.wait_ns, yields.wait_ns, park.wait_ns) > 0


def test_adaptive_waits_less_often_than_at_every_barrier(tiny: Any) -> None:
    spin, adaptive = (counters_after(tiny, wait) for wait in ("spin", "adaptive"))
    assert 0 < adaptive.barriers < spin.barriers
    assert (spin.n_active, spin.taken) == (0, 0)
    assert adaptive.n_active == min(2, thread_budget().most)


def test_adaptive_uses_no_more_threads_than_can_run(tiny: Any) -> None:
    most = thread_budget().most
    with Session(tiny, n_ctx=64, n_threads=most + 3, wait="adaptive") as session:
        session.decode(TOKENS)
        assert session.counters().n_active == most


def test_adaptive_shares_the_cpus_among_sessions_that_compute_at_once(tiny: Any) -> None:
    most = thread_budget().most
    if most < 2:
        pytest.skip("one CPU cannot be shared")
    with Session(tiny, n_ctx=64, n_threads=most) as first, Session(tiny, n_ctx=64, n_threads=most) as second:
        first.decode(TOKENS)
        second.decode(TOKENS)  # within milliseconds of the first one's graph
        first.decode([5])
        assert {first.counters().n_active, second.counters().n_active} & {max(1, most // 2)}


@pytest.mark.model
def test_a_long_graph_takes_the_cpus_that_another_session_has_left(smollm2: Any) -> None:
    """It begins within milliseconds of the other's end, and may not be computed as if that still computed."""
    most = thread_budget().most
    if most < 2:
        pytest.skip("one CPU cannot be shared")
    prompt = [1, *range(100, 355)]
    with Session(smollm2, n_ctx=512, n_threads=most) as first, Session(smollm2, n_ctx=512, n_threads=most) as second:
        active = []
        for session in (first, second) * 3:
            session.generate(prompt, max_tokens=1, temperature=0, reuse=False)  # a known graph begins soon
            active.append(session.counters().n_active)
    assert active[2:] == [most] * 4


def test_a_bound_pool_counts_its_own_cpus(tiny: Any) -> None:
    cpu = thread_budget().cpus[0]
    with ThreadPool(2, cpus=[cpu]) as pool, Session(tiny, n_ctx=64, pool=pool) as session:
        session.decode(TOKENS)
        assert session.counters().n_active == 1


THREADS_KEPT = """
import os
from llamasmith import Model, Session
session = Session(Model({path!r}), n_ctx=64, n_threads=3, disposable_pool=True)
def threads():
    return set(os.listdir("/proc/self/task"))
before = threads()
session.decode([1, 2, 3])
kept = threads() - before
for token in range(5, 15):
    session.decode([token])
    assert threads() - before == kept, "made anew"
print(len(kept))
pid = os.fork()
if pid == 0:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""


@pytest.mark.parametrize(("engine", "kept"), [("patched", 2), ("upstream", 0)])
def test_threads_without_a_pool_live_on(run_python: Any, tiny: Any, engine: str, kept: int) -> None:
    result = run_python(THREADS_KEPT.format(path=str(tiny.path)), LLAMASMITH_ENGINE=engine)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(kept)]


def test_one_thread_never_waits(tiny: Any) -> None:
    with Session(tiny, n_ctx=64, n_threads=1) as session:
        session.decode(TOKENS)
        assert session.counters().barriers == 0


def test_policy_may_change_at_any_time(tiny: Any) -> None:
    with Session(tiny, n_ctx=64, n_threads=2, wait="spin") as session:
        for wait in POLICIES * 3:
            session.pool.wait = wait
            assert session.pool.wait == wait
            session.decode([5])
        with pytest.raises(InvalidOption, match="Allowed: spin, yield, park, adaptive"):
            session.pool.wait = "nap"


def test_default_is_adaptive() -> None:
    pool = ThreadPool(2)
    assert pool.wait == "adaptive"
    assert "2 threads" in repr(pool)
    pool.close()


def test_environment_sets_the_default(run_python: Any) -> None:
    result = run_python("from llamasmith import ThreadPool; print(ThreadPool(2).wait)", LLAMASMITH_WAIT="park")
    assert result.stdout.split() == ["park"]


def test_bad_environment_is_an_error(run_python: Any) -> None:
    result = run_python("from llamasmith import ThreadPool; ThreadPool(2)", LLAMASMITH_WAIT="napping")
    assert "InvalidOption: LLAMASMITH_WAIT is 'napping'. Allowed: spin, yield, park, adaptive" in result.stderr


def test_pause_and_resume(tiny: Any) -> None:
    with Session(tiny, n_ctx=64, n_threads=2, wait="yield") as session:
        before = session.decode(TOKENS)
        session.pool.pause()
        session.reset()
        np.testing.assert_array_equal(session.decode(TOKENS), before)  # a graph resumes the pool by itself
        session.pool.pause()
        session.pool.resume()
        session.decode([5])


def test_closed_pool_says_so(tiny: Any) -> None:
    pool = ThreadPool(1)
    pool.close()
    with pytest.raises(SessionClosed):
        Session(tiny, pool=pool)
    assert "closed" in repr(pool)


def test_session_keeps_the_threads_of_a_closed_pool(tiny: Any) -> None:
    pool = ThreadPool(2, wait="yield")
    with Session(tiny, n_ctx=64, pool=pool) as session:
        pool.close()
        session.decode([1])


def test_pristine_engines_have_no_choice(tiny_path: Any, run_python: Any) -> None:
    code = """
import sys
from llamasmith import load_engine, Model, Session, ThreadPool
from llamasmith.errors import InvalidOption
load_engine("upstream")
pool = ThreadPool(2)
assert pool.wait is None and pool.counters() is None
for call in (lambda: ThreadPool(2, wait="park"), pool.pause, pool.resume):
    try:
        call()
    except InvalidOption as error:
        assert "patched" in str(error), error
    else:
        raise SystemExit("no error")
Session(Model(sys.argv[1]), pool=pool, n_ctx=64).decode([1])
print("fine")
"""
    result = run_python(code, tiny_path)
    assert result.stdout.split() == ["fine"], result.stderr


def test_refused_threads_are_an_exception(run_python: Any) -> None:
    """ggml would end the process where the system gives no more threads."""
    code = """
import resource
from llamasmith import load_engine, ThreadPool
from llamasmith.errors import NotEnoughMemory
load_engine()
import threading
threading.stack_size()
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))  # room for some thread stacks of 8 MiB, not for 511
try:
    ThreadPool(512)
except NotEnoughMemory as error:
    print("refused:", error)
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert "of 512 threads. Use fewer" in result.stdout


def test_more_threads_than_cpus_are_a_warning(
    tiny: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llamasmith.pool._warned", set())
    budget = thread_budget().budget
    with caplog.at_level(logging.WARNING, logger="llamasmith"):
        with ThreadPool(budget):
            assert not caplog.records
        with ThreadPool(budget + 1) as pool:
            assert pool.n_threads == budget + 1
        assert f"{budget + 1} threads on {budget} CPU" in caplog.text
        assert thread_budget().reasons[0] in caplog.text
        with pytest.raises(SessionClosed):
            pool.resume()
        ThreadPool(budget + 1).close()
        Session(tiny, n_ctx=64, n_threads=1, n_threads_batch=budget + 1).close()
        assert len(caplog.records) == 1  # once for a number
        Session(tiny, n_ctx=64, n_threads=1, n_threads_batch=budget + 2, disposable_pool=True).close()
        Session(tiny, n_ctx=64, n_threads=budget + 2).close()
        assert len(caplog.records) == 2
        assert f"{budget + 2} threads on {budget} CPU" in caplog.records[1].getMessage()


def test_more_threads_than_the_cpus_named_are_a_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llamasmith.pool._warned", set())
    first = min(os.sched_getaffinity(0))
    with caplog.at_level(logging.WARNING, logger="llamasmith"), ThreadPool(2, cpus=[first]):
        pass
    assert f"2 threads on 1 CPU (cpus names {first}" in caplog.text


def test_every_default_is_the_budget(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = replace(thread_budget(), budget=3)
    monkeypatch.setattr("llamasmith.pool.thread_budget", lambda: budget)
    with ThreadPool() as pool:
        assert pool.n_threads == 3
    with Session(tiny, n_ctx=64) as session:
        assert session.pool.n_threads == 3
        assert session.pool_batch is session.pool
    with Session(tiny, n_ctx=64, n_threads_batch=1) as session:
        assert (session.pool.n_threads, session.pool_batch.n_threads) == (3, 1)
    with Session(tiny, n_ctx=64, disposable_pool=True) as session:
        assert "3 disposable threads" in repr(session)


def test_a_pool_that_is_closed_while_attached(tiny: Any) -> None:
    """The session keeps the threads; only the pool's own methods say that it is closed."""
    pool = ThreadPool(2, wait="yield")
    with Session(tiny, n_ctx=64, pool=pool) as session:
        expected = session.decode(TOKENS)
        pool.close()
        pool.close()
        session.reset()
        np.testing.assert_array_equal(session.decode(TOKENS), expected)
        assert "closed" in repr(session)
        for call in (session.counters, pool.pause, pool.resume, lambda: Session(tiny, pool=pool)):
            with pytest.raises(SessionClosed, match="The thread pool is closed"):
                call()


def test_a_pause_in_the_midst_of_a_graph_waits_for_its_end(tiny_path: Any, run_python: Any) -> None:
    """A worker that was told to pause before it had seen the graph would keep the others waiting for ever."""
    code = """
import sys, threading
from llamasmith import Model, Session, ThreadPool
pool = ThreadPool(2, wait="park", poll=0)
session = Session(Model(sys.argv[1]), pool=pool, n_ctx=512)
done = threading.Event()
def work():
    for _ in range(3):
        session.generate("a", max_tokens=400, temperature=0, ignore_eos=True)
    done.set()
worker = threading.Thread(target=work)
worker.start()
pauses = 0
while not done.is_set():
    pool.pause()
    pauses += 1
worker.join()
print("fine" if pauses > 1 else pauses)
"""
    result = run_python(code, tiny_path, timeout=60)
    assert result.stdout.split() == ["fine"], result.stderr


def test_a_pool_that_another_session_leaves_for_its_prompts(tiny_path: Any, run_python: Any) -> None:
    """llama.cpp pauses a context's pool when the context goes over to its other one; others may compute on it."""
    code = """
import sys, threading
from llamasmith import Model, Session
model = Model(sys.argv[1])
two = Session(model, n_ctx=512, n_threads=2, n_threads_batch=1, wait="park")
one = Session(model, n_ctx=512, pool=two.pool)
done = threading.Event()
def work():
    for _ in range(3):
        one.generate("a", max_tokens=400, temperature=0, ignore_eos=True)
    done.set()
worker = threading.Thread(target=work)
worker.start()
turns = 0
while not done.is_set():
    two.decode([5])
    two.decode([1, 40, 50])
    two.reset()
    turns += 1
worker.join()
print("fine" if turns > 1 else turns)
"""
    result = run_python(code, tiny_path, timeout=60)
    assert result.stdout.split() == ["fine"], result.stderr


def test_a_signal_handler_in_the_midst_of_a_graph(tiny_path: Any, run_python: Any) -> None:
    code = """
import os, signal, sys, threading
from llamasmith import Model, Session, ThreadPool
from llamasmith.errors import SessionBusy
model = Model(sys.argv[1])
pool = ThreadPool(2, wait="yield", cpus=os.sched_getaffinity(0))
session, sharing = (Session(model, pool=pool, n_ctx=2048) for _ in range(2))
other = Session(model, n_threads=1, n_ctx=64)
said = []
def handler(number, frame):
    if not session.busy or said:
        return
    for call in (pool.pause, lambda: sharing.decode([1])):
        try:
            call()
        except SessionBusy as error:
            said.append(str(error))
    other.decode([1, 40])
    assert sharing.n_past == 0
signal.signal(signal.SIGINT, handler)
done = threading.Event()
def interrupt():
    while not done.wait(0.01):
        os.kill(os.getpid(), signal.SIGINT)
sender = threading.Thread(target=interrupt)
sender.start()
while not said:
    session.decode([5] * 1000)
    session.reset()
done.set()
sender.join()
sharing.decode([1])
pool.pause()
assert len(said) == 2, said
print(said[0])
"""
    result = run_python(code, tiny_path, timeout=60)
    assert result.stdout.startswith("This thread is in the midst of a graph on this thread pool"), result.stderr
