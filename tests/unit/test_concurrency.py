"""Threads, Ctrl-C, cancel, fork, interpreter exit."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from llamasmith import Session
from llamasmith.errors import Cancelled, SessionBusy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG: dict[str, Any] = {"temperature": 0, "ignore_eos": True, "max_tokens": None}
# A prompt that takes seconds: the tests stop it long before its end.
BIG_CTX = 60_000


pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def big(tiny: Any) -> Iterator[Any]:
    session = Session(tiny, n_ctx=BIG_CTX, n_threads=1)
    yield session
    until(lambda: session.cancel() or not session.busy)  # a failed test must not leave work behind
    session.close()


def start(target: Any) -> threading.Thread:
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def until(condition: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.001)


def test_second_thread_gets_session_busy_and_cancel_ends_the_first(big: Any) -> None:
    results: list[Any] = []
    thread = start(lambda: results.append(big.generate("a", **LONG)))
    until(lambda: big.busy)
    for call in (lambda: big.decode([1]), lambda: big.generate("b"), big.reset, big.close):
        with pytest.raises(SessionBusy, match="Another thread"):
            call()
    big.cancel()
    thread.join(timeout=30)
    (result,) = results
    assert result.stop_reason == "cancelled"
    assert len(result.tokens) == result.timings.generated_tokens
    assert big.generate("a", max_tokens=3, temperature=0).timings.prompt_tokens > 0


def test_cancel_stops_a_long_prompt_and_nothing_is_lost(big: Any) -> None:
    big.decode([1, 2, 3])
    errors: list[BaseException] = []

    def work() -> None:
        try:
            big.decode([5] * (BIG_CTX - 10))
        except Cancelled as error:
            errors.append(error)

    thread = start(work)
    until(lambda: big.busy)
    big.cancel()
    thread.join(timeout=30)
    assert len(errors) == 1
    assert big.n_past == 3


def test_python_goes_on_while_native_code_runs(big: Any) -> None:
    thread = start(lambda: big.generate("a", **LONG))
    until(lambda: big.busy)
    count = 0
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        count += 1
    big.cancel()
    thread.join(timeout=30)
    assert count > 1000  # with the GIL held, this loop would not have run at all


def test_sessions_in_parallel_on_one_model(tiny: Any) -> None:
    def run(out: dict[int, Any], i: int) -> None:
        with Session(tiny, n_ctx=128, n_threads=2, wait="park") as session:
            out[i] = [
                session.generate([1, 40 + i], max_tokens=30, temperature=0, ignore_eos=True).tokens for _ in range(5)
            ]

    together: dict[int, Any] = {}
    threads = [threading.Thread(target=run, args=(together, i)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone: dict[int, Any] = {}
    for i in range(4):
        run(alone, i)
    assert together == alone


CTRL_C = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with SIGINT ignored
from llamasmith import Model, Session
with Model(sys.argv[1]) as model, Session(model, n_ctx=60_000, n_threads=1) as session:
    session.decode([1, 2, 3])
    print("ready", flush=True)
    try:
        if sys.argv[2] == "prompt":
            session.decode([5] * 59_000)
        elif sys.argv[2] == "generate":
            session.generate("a", max_tokens=None, temperature=0, ignore_eos=True)
        else:
            for piece in session.stream("a", max_tokens=None, temperature=0, ignore_eos=True):
                pass
    except KeyboardInterrupt:
        print("stopped", flush=True)
    print("usable", session.generate("a", max_tokens=3, temperature=0, ignore_eos=True).timings.generated_tokens)
"""


@pytest.mark.parametrize("where", ["prompt", "generate", "stream"])
def test_ctrl_c_stops_within_a_graph_and_leaves_the_session_usable(tiny_path: Path, tmp_path: Path, where: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(CTRL_C)
    child = subprocess.Popen(
        [sys.executable, str(script), str(tiny_path), where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.3)  # well inside the native call, which takes many seconds
    child.send_signal(signal.SIGINT)
    start_time = time.monotonic()
    assert child.stdout.readline() == "stopped\n"
    assert time.monotonic() - start_time < 20  # the whole work would take longer than any patience
    out = child.stdout.read()  # not communicate(): that does not know what readline() has read ahead
    assert child.stderr is not None
    err = child.stderr.read()
    assert child.wait(timeout=60) == 0, err
    child.stdout.close()
    child.stderr.close()
    assert out.split() == ["usable", "3"], err
    assert "decode" not in err  # llama.cpp calls it an error that it was stopped; a person who pressed Ctrl-C does not


def test_signal_handler_that_does_not_raise_lets_the_work_go_on(tiny_path: Path, run_python: Any) -> None:
    code = """
import os, signal, sys, threading, time
from llamasmith import Model, Session
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
with Model(sys.argv[1]) as model, Session(model, n_ctx=4096, n_threads=1) as session:
    tokens = [1 + i % 250 for i in range(4000)]
    expected = session.decode(tokens)
    session.reset()
    done = threading.Event()
    def poke():
        while not done.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.02)
    threading.Thread(target=poke, daemon=True).start()
    logits = session.decode(tokens)
    done.set()
    assert session.n_past == 4000
    assert abs(logits - expected).max() < 1e-3
    assert seen
    print("fine")
"""
    result = run_python(code, tiny_path)
    assert result.stdout.split() == ["fine"], result.stderr


@pytest.mark.parametrize("engine", ["patched", "upstream", "upstream-openmp"])
def test_fork_after_load(tiny_path: Path, run_python: Any, engine: str) -> None:
    code = """
import os, sys
from llamasmith import load_engine, Model, Session, ThreadPool
from llamasmith.errors import ForkedProcess
load_engine(sys.argv[2])
model = Model(sys.argv[1])
pool = ThreadPool(2)
session = Session(model, n_ctx=64, n_threads=2)
session.decode([1])
pid = os.fork()
if pid == 0:
    for call in (lambda: session.decode([1]), lambda: Session(model, pool=pool)):
        try:
            call()
        except ForkedProcess:
            continue
        os._exit(3)
    assert model.tokenize("a")
    if sys.argv[2] != "upstream-openmp":  # GNU's OpenMP does not survive a fork
        assert Session(model, n_ctx=64, n_threads=2).decode([1]).shape == (model.n_vocab,)
    del session, pool
    sys.exit(7)  # the child's exit must not wait for threads that it does not have
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 7, status
session.decode([2])  # the parent is as before
print("fine")
"""
    result = run_python(code, tiny_path, engine, timeout=60)
    assert result.stdout.split() == ["fine"], result.stderr


def test_exit_with_live_objects_and_a_running_thread(tiny_path: Path, run_python: Any) -> None:
    code = """
import logging, sys, threading, time
from llamasmith import Model, Session, ThreadPool
logging.getLogger("llamasmith").setLevel(logging.ERROR)
model = Model(sys.argv[1]); pool = ThreadPool(2, wait="yield")
session = Session(model, n_ctx=4096, pool=pool)
stream = session.stream("a", max_tokens=100); next(stream)
other = Session(model, n_ctx=60_000, n_threads=1)
options = dict(max_tokens=None, temperature=0, ignore_eos=True)
threading.Thread(target=lambda: other.generate("a", **options), daemon=True).start()
time.sleep(0.1)
"""
    result = run_python(code, tiny_path, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
