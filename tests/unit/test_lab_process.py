"""The pipe to real processes: those that speak the protocol, and those that do not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llamasmith.lab.arm import Arm
from llamasmith.lab.process import WorkerDied, WorkerProcess, WorkerRefused, cpu_seconds_of, spawn
from llamasmith.lab.worker import PROTOCOL, bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable

STUB = """
import json, os, sys
for line in sys.stdin:
    request = json.loads(line)
    op = request["op"]
    if op == "crash":
        print("about to fall", file=sys.stderr, flush=True)
        os.kill(os.getpid(), 11)
    if op == "leave":
        sys.exit(7)
    if op == "babble":
        print("no json", flush=True)
        continue
    if op == "other":
        request["id"] += 1
    if op == "refuse":
        print(json.dumps({"id": request["id"], "ok": False, "error": "ValueError: no"}), flush=True)
        continue
    print(json.dumps({"id": request["id"], "ok": True, "result": {"op": op, "pid": os.getpid()}}), flush=True)
"""


def stub(code: str = STUB, grace_seconds: float = 5.0) -> WorkerProcess:
    return WorkerProcess("stub", [sys.executable, "-c", textwrap.dedent(code)], dict(os.environ), grace_seconds)


def ends(worker: WorkerProcess, action: Callable[[], object], error: type[Exception], says: str) -> None:
    try:
        with pytest.raises(error) as caught:
            action()
        assert says in str(caught.value)
    finally:
        worker.close()


def test_a_real_process_answers_until_its_input_ends() -> None:
    worker = stub()
    assert worker.request("hello") == {"op": "hello", "pid": worker.pid}
    assert worker.cpu_seconds() > 0.0
    worker.close()
    worker.close()
    assert worker.cpu_seconds() > 0.0  # the last known value: an ended process uses no more
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_at_rest_is_stopped_until_it_is_asked() -> None:
    worker = stub()
    state = Path(f"/proc/{worker.pid}/stat")
    try:
        worker.request("hello")
        worker.rest()
        assert state.read_text().rpartition(") ")[2][0] == "T"
        assert worker.request("again")["op"] == "again"
        worker.rest()
    finally:
        worker.close()  # sees the end of its input, though it rests
    worker.rest()  # it has ended: nothing to stop
    worker.wake()


def test_a_process_that_has_died_does_not_keep_us_waiting() -> None:
    worker = stub()
    os.kill(worker.pid, signal.SIGKILL)
    worker.rest()
    ends(worker, lambda: worker.request("hello"), WorkerDied, "was ended by signal 9")


@pytest.mark.parametrize(
    ("op", "error", "says"),
    [
        ("crash", WorkerDied, "was ended by signal 11 during 'crash'.\nIts last words:\n  about to fall"),
        ("leave", WorkerDied, "ended with status 7"),
        ("babble", WorkerDied, "no reply at all: 'no json"),
        ("other", WorkerDied, "answered request 2, not 1"),
        ("refuse", WorkerRefused, "refused 'refuse': ValueError: no"),
    ],
)
def test_what_a_real_process_does_wrong_is_told(op: str, error: type[Exception], says: str) -> None:
    worker = stub()
    ends(worker, lambda: worker.request(op), error, says)


def test_a_process_that_cannot_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorkerDied, match="'lost' did not start"):
        spawn(Arm("lost", "patched", python=str(tmp_path / "python")))
    worker = WorkerProcess("empty", [sys.executable, "-m", "no_such_module"], dict(os.environ))
    ends(worker, lambda: worker.request("hello"), WorkerDied, "No module named no_such_module")


def test_a_process_that_does_not_listen_is_killed() -> None:
    worker = stub('import time\nprint(\'{"id": 1, "ok": true, "result": {}}\', flush=True)\ntime.sleep(600)', 0.0)
    worker.request("hello")
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_the_real_worker_keeps_its_pipe_clean_and_ignores_ctrl_c() -> None:
    worker = spawn(Arm("a", "patched"))
    try:
        hello = worker.request("hello")
        assert hello["protocol"] == PROTOCOL
        os.kill(hello["pid"], signal.SIGINT)
        with pytest.raises(WorkerRefused, match="nothing is loaded yet"):
            worker.request("measure", metric="pp", n=1, repeats=1, seed=0, limit_seconds=1.0)
    finally:
        worker.close()


def test_stray_words_go_to_stderr_not_into_the_protocol() -> None:
    worker = stub(
        """
        import os, sys
        from llamasmith.lab.worker.serve import Worker, _protect_stdout, serve
        with _protect_stdout() as replies:
            print("python speaks", flush=True)
            os.write(1, b"native code speaks\\n")
            serve(sys.stdin, replies, Worker())
            os._exit(3)
        """
    )
    assert worker.request("hello")["protocol"] == PROTOCOL
    worker.request("quit")
    ends(worker, lambda: worker.request("hello"), WorkerDied, "  native code speaks")


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_worker_dies_with_a_parent_that_is_killed() -> None:
    code = """
    import os, sys
    from llamasmith.lab.arm import Arm
    from llamasmith.lab.process import spawn
    worker = spawn(Arm("a", "patched"))
    print(worker.request("hello")["pid"], flush=True)
    sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        watch = os.pidfd_open(pid)
        parent.kill()
    try:
        import select

        assert select.select([watch], [], [], 60)[0]  # readable once the process has ended
    finally:
        os.close(watch)


def test_cpu_seconds_of_ourselves() -> None:
    before = cpu_seconds_of(os.getpid())
    sum(range(100_000))
    assert cpu_seconds_of(os.getpid()) >= before


def test_a_worker_needs_nothing_but_its_files_and_an_interpreter(tmp_path: Path) -> None:
    """Another environment has another llamasmith, or none: what runs there is this worker all the same."""
    bare = [sys.executable, "-I", "-S", *bootstrap("")[1:]]
    worker = WorkerProcess("bare", bare, {"PATH": os.environ["PATH"]})
    try:
        assert worker.request("hello")["protocol"] == PROTOCOL
        with pytest.raises(WorkerRefused, match=r"SubjectMissing: llamasmith is not installed"):
            worker.request(
                "load",
                subject="llamasmith",
                sessions=1,
                engine="patched",
                model="m",
                model_options={},
                session_options={},
            )
    finally:
        worker.close()
