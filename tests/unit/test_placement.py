"""On which CPUs and how urgently a pool's threads run, and that the thread that calls is left as it was."""

from __future__ import annotations

import os
import threading
import time
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llamasmith import Session, ThreadPool, load_engine, thread_budget
from llamasmith.errors import InvalidOption, SessionClosed
from llamasmith.placement import cpu_ids, cpu_text

if TYPE_CHECKING:
    from collections.abc import Iterable

CPUS = sorted(os.sched_getaffinity(0))
TOKENS = [1, 40, 50, 60, 70]
two_cpus = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs")


def threads() -> set[int]:
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}


def state(thread: int = 0) -> tuple[set[int], int, int]:
    """CPUs, scheduling class and urgency of a thread; of the calling one by default."""
    return os.sched_getaffinity(thread), os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority


def states_while(session: Session) -> list[tuple[set[int], int, int]]:
    """What this thread is while it computes, as another one sees it, and what it is afterwards."""
    seen: list[tuple[set[int], int, int]] = []
    me, before, done = threading.get_native_id(), state(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            now = state(me)
            if now != before and now == state(me):  # three system calls: what they say may be of two moments
                seen.append(now)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    give_up = time.monotonic() + 60
    while watcher.is_alive() and time.monotonic() < give_up:
        session.decode(TOKENS * 10)
        session.reset()
    done.set()
    watcher.join()
    return [*seen, state()]


def workers_of(session: Session, before: set[int]) -> list[tuple[set[int], int, int]]:
    session.decode(TOKENS)  # with all threads, which therefore are where they belong
    return [state(thread) for thread in sorted(threads() - before)]


@two_cpus
@pytest.mark.parametrize(
    ("options", "caller", "workers"),
    [
        ({"n_threads": 2, "cpus": CPUS[:1]}, {CPUS[0]}, [{CPUS[0]}]),
        ({"n_threads": 3, "cpus": CPUS[:1]}, {CPUS[0]}, [{CPUS[0]}, {CPUS[0]}]),
        ({"n_threads": 2, "cpus": CPUS[:2], "strict": True}, {CPUS[1]}, [{CPUS[0]}]),
        ({"n_threads": 1, "cpus": CPUS[1::-1], "strict": True}, {CPUS[1]}, []),
    ],
)
def test_threads_run_where_they_are_told(
    tiny: Any, options: dict[str, Any], caller: set[int], workers: list[set[int]]
) -> None:
    before, own = threads(), state()
    with ThreadPool(wait="yield", **options) as pool:
        assert state() == own
        with Session(tiny, n_ctx=64, pool=pool) as session:
            assert [cpus for cpus, _, _ in workers_of(session, before)] == workers
            while_computing, afterwards = states_while(session)
            assert while_computing == (caller, *own[1:])
            assert afterwards == own
            pool.pause()  # ggml moves the calling thread when it resumes a pool for a graph
            session.decode([5])
            assert state() == own
            pool.pause()
            pool.resume()
            assert state() == own
    assert state() == own


def test_all_of_the_cpus_named_are_allowed_to_all_threads(tiny: Any) -> None:
    before = threads()
    with ThreadPool(3, cpus=set(CPUS), wait="yield") as pool, Session(tiny, n_ctx=64, pool=pool) as session:
        assert [cpus for cpus, _, _ in workers_of(session, before)] == [set(CPUS)] * 2


def test_low_priority(tiny: Any) -> None:
    before, own = threads(), state()
    with ThreadPool(2, priority="low", wait="yield") as pool, Session(tiny, n_ctx=64, pool=pool) as session:
        assert state() == own
        assert workers_of(session, before) == [(own[0], os.SCHED_BATCH, 0)]
        assert states_while(session) == [(own[0], os.SCHED_BATCH, 0), own]
    assert state() == own


def may_be_urgent() -> bool:
    before = state()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(90))
    except OSError:
        return False
    os.sched_setscheduler(0, before[1], os.sched_param(before[2]))
    return True


urgent = pytest.mark.skipif(not may_be_urgent(), reason="needs the right to real-time priority")


@pytest.mark.root
@urgent
@pytest.mark.parametrize(("priority", "level"), [("medium", 40), ("high", 80), ("realtime", 90)])
def test_real_time_priorities(tiny: Any, priority: str, level: int) -> None:
    before, own = threads(), state()
    n = min(2, len(CPUS))
    with ThreadPool(n, priority=priority, wait="park") as pool, Session(tiny, n_ctx=64, pool=pool) as session:
        assert state() == own
        assert workers_of(session, before) == [(own[0], os.SCHED_FIFO, level)] * (n - 1)
        assert states_while(session) == [(own[0], os.SCHED_FIFO, level), own]
    assert state() == own


@pytest.mark.root
@urgent
@two_cpus
def test_two_pools_of_real_time_threads_do_not_wait_for_each_other_for_ever(tiny_path: Path, run_python: Any) -> None:
    code = """
import logging, sys, threading
from llamasmith import Model, Session, ThreadPool
model = Model(sys.argv[1])
def work():
    with ThreadPool(2, cpus=[int(cpu) for cpu in sys.argv[2:]], priority="medium", wait="spin") as pool:
        with Session(model, n_ctx=512, pool=pool) as session:
            session.generate("a", max_tokens=400, temperature=0, ignore_eos=True)
jobs = [threading.Thread(target=work) for _ in range(3)]
for job in jobs: job.start()
for job in jobs: job.join()
print("fine")
"""
    result = run_python(code, tiny_path, *map(str, CPUS[:2]))
    assert result.stdout.split() == ["fine"], result.stderr


def test_a_priority_that_the_system_refuses(run_python: Any) -> None:
    code = """
import os, resource
from llamasmith import load_engine, ThreadPool
from llamasmith.errors import InvalidOption
load_engine()
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
try:
    ThreadPool(1, priority="high")
except InvalidOption as error:
    print(error)
ThreadPool(1, priority="low").close()
print("fine")
"""
    result = run_python(code)
    assert (result.returncode, result.stderr) == (0, "")
    assert "priority is 'high', which the system refuses to this process (Operation not permitted)" in result.stdout
    assert "a limit of 80 for real-time priority (ulimit -r, now 0). Allowed without: low, normal." in result.stdout
    assert result.stdout.endswith("fine\n")


def test_cpus_outside_of_the_affinity_mask(run_python: Any) -> None:
    code = """
import os
from llamasmith import ThreadPool
from llamasmith.errors import InvalidOption
first, *others = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, [first])
try:
    ThreadPool(1, cpus=others[:1])
except InvalidOption as error:
    print(error, f"{others[0]} {first}")
"""
    if len(CPUS) < 2:
        pytest.skip("needs two CPUs")
    result = run_python(code)
    said, _, named = result.stdout.strip().rpartition(". ")
    other, first = named.split()
    assert said == (f"cpus names CPU {other}, which this process may not use (taskset, cpuset). Allowed: {first}"), (
        result.stderr
    )


# How many threads, and on which CPUs, where that is left open.


def test_by_default_a_thread_for_each_core_named() -> None:
    for some in permutations(CPUS[:3], 2):
        budget = thread_budget(affinity=some)
        with ThreadPool(cpus=some) as pool:
            assert (pool.n_threads, pool.cpus) == (budget.budget, some)


def test_strict_without_cpus_takes_those_of_the_budget() -> None:
    budget = thread_budget()
    with ThreadPool(strict=True) as pool:
        assert (pool.n_threads, pool.cpus) == (budget.budget, budget.cpus[: budget.budget])
    with ThreadPool(1, strict=True) as pool:
        assert pool.cpus == budget.cpus[:1]


def test_strict_takes_the_first_of_the_cpus_named() -> None:
    with ThreadPool(1, cpus=CPUS[::-1], strict=True) as pool:
        assert pool.cpus == (CPUS[-1],)


def test_strict_does_not_put_two_threads_on_one_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Left open, the number is that of the cores, and so the CPUs must be one of each."""
    from llamasmith import pool as module

    for cpu in CPUS:
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology"
        folder.mkdir(parents=True)
        (folder / "core_cpus_list").write_text(cpu_text(CPUS[:2]) if cpu in CPUS[:2] else str(cpu))
    monkeypatch.setattr(module, "thread_budget", lambda affinity=None: thread_budget(tmp_path, affinity or CPUS))
    with ThreadPool(cpus=CPUS, strict=True) as pool:
        assert pool.cpus == (CPUS[0], *CPUS[2:])
    if len(CPUS) > 1:
        with ThreadPool(2, cpus=CPUS[:2], strict=True) as pool:  # asked for, they may
            assert pool.cpus == tuple(CPUS[:2])


def test_attributes() -> None:
    with ThreadPool(1) as pool:
        assert (pool.cpus, pool.priority, pool.strict, pool.closed) == (None, "normal", False, False)
        assert repr(pool) == f"<llamasmith.ThreadPool 1 thread, wait={pool.wait}>"
    assert pool.closed
    assert repr(pool) == "<llamasmith.ThreadPool closed>"
    with pytest.raises(SessionClosed):
        _ = pool.n_threads
    with ThreadPool(1, cpus=CPUS[:1], strict=True, priority="low", wait="park") as pool:
        assert (pool.cpus, pool.priority, pool.strict) == ((CPUS[0],), "low", True)
        assert repr(pool) == f"<llamasmith.ThreadPool 1 thread, cpus={CPUS[0]} strict, priority=low, wait=park>"


def test_a_pool_of_another_process_can_be_shown(run_python: Any) -> None:
    code = """
import os
from llamasmith import ThreadPool
pool = ThreadPool(1, wait="park")
if os.fork() == 0:
    print(pool, flush=True)
    os._exit(0)
os.wait()
"""
    assert run_python(code).stdout == "<llamasmith.ThreadPool 1 thread, of another process>\n"


@pytest.mark.parametrize(
    ("cpus", "text"), [((), ""), ((5,), "5"), ((0, 1), "0-1"), ((3, 8, 1, 2), "1-3,8"), ((0, 2, 4), "0,2,4")]
)
def test_cpus_as_text(cpus: Iterable[int], text: str) -> None:
    assert cpu_text(cpus) == text


def test_cpus_as_they_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 8, 40, 600})
    for given in ("8,0-2", " 8 , 0 - 2 ", [8, 0, 1, 2], iter((8, 0, 1, 2)), {8: "a", 0: "b", 1: "c", 2: "d"}):
        assert cpu_ids(given) == (8, 0, 1, 2)
    assert cpu_ids({40, 8, 0}) == (0, 8, 40)  # a set has no order of its own
    with pytest.raises(InvalidOption, match="knows 0 to 511"):
        cpu_ids([600])


def test_where_threads_cannot_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    with pytest.raises(InvalidOption, match="this system does not bind threads"):
        cpu_ids([0])


# The other engines.


@pytest.mark.parametrize("engine", ["upstream", "upstream-openmp"])
@pytest.mark.parametrize("strict", [False, True])
@two_cpus
def test_pristine_engines_leave_the_caller_alone_too(
    tiny_path: Path, run_python: Any, engine: str, strict: bool
) -> None:
    code = """
import os, sys, threading
from llamasmith import load_engine, Model, Session, ThreadPool
load_engine(sys.argv[2])
cpus = sorted(os.sched_getaffinity(0))[:2]
strict = sys.argv[3] == "True"
before = os.sched_getaffinity(0), os.sched_getscheduler(0)
pool = ThreadPool(2, cpus=cpus if strict else cpus[:1], strict=strict, priority="low")
session = Session(Model(sys.argv[1]), pool=pool, n_ctx=512)
assert before == (os.sched_getaffinity(0), os.sched_getscheduler(0))
for tokens in ([1, 40, 50], [5]):
    session.decode(tokens)
    assert before == (os.sched_getaffinity(0), os.sched_getscheduler(0))
others = {int(task) for task in os.listdir("/proc/self/task")} - {os.getpid()}
mine = cpus[1] if strict and sys.argv[2] == "upstream-openmp" else cpus[0]  # OpenMP's first thread is the caller
print(({mine}, os.SCHED_BATCH) in [(os.sched_getaffinity(task), os.sched_getscheduler(task)) for task in others])
"""
    result = run_python(code, tiny_path, engine, str(strict))
    assert result.stdout.split() == ["True"], result.stderr


def test_openmp_refuses_what_it_does_not_do(run_python: Any) -> None:
    code = """
from llamasmith import load_engine, ThreadPool
from llamasmith.errors import InvalidOption
load_engine("upstream-openmp")
pool = ThreadPool(2)
for call in (lambda: ThreadPool(2, poll=0), lambda: ThreadPool(2, wait="park"), pool.pause, pool.resume):
    try:
        call()
    except InvalidOption as error:
        print(error)
"""
    load_engine()
    poll, wait, pause, resume = run_python(code).stdout.splitlines()
    assert poll.startswith("poll=0 has no effect in the engine 'upstream-openmp': OpenMP's threads wait as OMP_WAIT_")
    assert wait.startswith("wait='park' has no effect in the engine at ")
    assert pause.endswith("cannot pause a pool, whose threads are OpenMP's; 'patched' can.")
    assert resume.endswith("cannot resume a pool, whose threads are OpenMP's; 'patched' can.")
