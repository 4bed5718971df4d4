"""The runner in a made-up world without time, and the pipe to real processes that speak the protocol."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from llamasmith.errors import LabError
from llamasmith.lab.arm import Arm
from llamasmith.lab.plan import Experiment, Metric, common_settings
from llamasmith.lab.process import WorkerDied, WorkerProcess, WorkerRefused, cpu_seconds_of, spawn
from llamasmith.lab.protocol import PROTOCOL
from llamasmith.lab.runner import ArmEnded, Event, Progress, run
from llamasmith.lab.worker import PROMPT, Bench, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from llamasmith.lab.results import Results

POLL_SECONDS = 0.1


@dataclass
class World:
    """A clock that only moves when somebody works or sleeps, and workers whose threads poll a while after work."""

    rates: dict[str, float]
    now: float = 0.0
    log: list[tuple[str, str]] = field(default_factory=list)
    disasters: dict[tuple[str, int], BaseException] = field(default_factory=dict)
    """What happens to an arm at its n-th measurement, counted from 0, calibration included."""
    never_quiet: bool = False
    closed: list[tuple[str, bool]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def spawn(self, arm: Arm) -> FakeWorker:
        return FakeWorker(self, arm)


class FakeWorker:
    def __init__(self, world: World, arm: Arm) -> None:
        self.world = world
        self.arm = arm
        self.measured = 0
        self.busy_until = 0.0
        self.cpu = 0.0
        self.looked_at = 0.0

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        self.world.log.append((self.arm.name, op))
        return dict(getattr(self, op)(**fields))

    def hello(self) -> dict[str, Any]:
        return {"protocol": PROTOCOL}

    def load(self, **fields: Any) -> dict[str, Any]:
        return {"engine": self.arm.engine, "build": {"pin": "p"}, "thread_budget": {"budget": 2}, "asked": fields}

    def outputs(self, n: int) -> dict[str, Any]:
        return {"tokens": list(range(n)), "logits_sha256": "0" * 64}

    def measure(self, metric: str, n: int, repeats: int, seed: int) -> dict[str, Any]:
        disaster = self.world.disasters.get((self.arm.name, self.measured))
        self.measured += 1
        if disaster is not None:
            raise disaster
        seconds = n / self.world.rates[self.arm.name]
        self.world.now += seconds * repeats
        self.busy_until = self.world.now + POLL_SECONDS
        return {"tokens": n, "seconds": [seconds] * repeats, "cpu_seconds": 2 * seconds * repeats}

    def cpu_seconds(self) -> float:
        until = self.world.now if self.world.never_quiet else min(self.world.now, self.busy_until)
        self.cpu += max(0.0, until - self.looked_at)
        self.looked_at = self.world.now
        return self.cpu

    def close(self, *, now: bool = False) -> None:
        self.world.closed.append((self.arm.name, now))


def experiment(names: str = "ab", **change: Any) -> Experiment:
    settings = common_settings(n_threads=2, n_prompt=50, n_gen=10)
    arms = tuple(Arm(name, "patched", settings) for name in names)
    options: dict[str, Any] = {"rounds": 4, "warmup": 1, "aa": False, "metrics": (Metric("pp", 50), Metric("tg", 10))}
    return Experiment(model=Path("m.gguf"), arms=arms, **options | change)


def run_in(world: World, plan: Experiment, **options: Any) -> Results:
    return run(
        plan,
        spawner=world.spawn,
        clock=world.clock,
        sleep=world.sleep,
        now=lambda: datetime(2026, 1, 2, tzinfo=timezone.utc),
        **options,
    )


def test_an_experiment_from_start_to_end() -> None:
    world = World({"a": 100.0, "b": 200.0})
    saved: list[int] = []
    results = run_in(world, experiment(), save=lambda found: saved.append(len(found.arms[1].samples)))
    assert results.complete
    assert not results.interrupted
    assert results.started == "2026-01-02T00:00:00+00:00"
    assert [arm.rates("pp") for arm in results.arms] == [[pytest.approx(100.0)] * 4, [pytest.approx(200.0)] * 4]
    assert [len(arm.rates("tg", warmup=True)) for arm in results.arms] == [1, 1]
    assert saved == [2, 4, 6, 8, 10]  # after every round, warm-up included
    assert world.closed == [("a", False), ("b", False)]
    assert results.facts["build"] == {"pin": "p"}


def test_load_gets_the_settings_apart() -> None:
    results = run_in(World({"a": 100.0}), experiment("a"))
    asked = results.arms[0].facts["asked"]
    assert asked["model"] == "m.gguf"
    assert asked["model_options"] == {"use_extra_bufts": True}
    assert asked["session_options"]["n_threads"] == 2
    assert "use_extra_bufts" not in asked["session_options"]


def test_rounds_are_interleaved() -> None:
    world = World({"a": 100.0, "b": 200.0})
    results = run_in(world, experiment(metrics=(Metric("pp", 50),), warmup=0))
    measured = [name for name, op in world.log if op == "measure"][-8:]
    assert "".join(measured) == "abbaabba"
    assert [sample.position for sample in results.arms[0].samples] == [0, 1, 0, 1]


def test_all_arms_repeat_as_often_as_the_fastest_needs() -> None:
    results = run_in(World({"a": 100.0, "b": 1000.0}), experiment())
    assert results.calibration["pp"] == {"a": 0.5, "b": 0.05}
    assert results.repeats == {"pp": 5, "tg": 25}
    for arm in results.arms:
        assert all(sum(sample.seconds) >= 0.2 for sample in arm.samples)
        assert {len(sample.seconds) for sample in arm.samples if sample.metric == "tg"} == {25}


def test_the_first_arm_is_repeated_as_the_noise_floor() -> None:
    results = run_in(World({"a": 100.0, "b": 200.0, "A/A": 101.0}), experiment(aa=True))
    assert [arm.name for arm in results.arms] == ["a", "b", "A/A"]
    assert results.noise is results.arms[2]
    assert results.noise.arm.settings == results.baseline.arm.settings


def test_a_sample_waits_until_polling_ends() -> None:
    results = run_in(World({"a": 100.0, "b": 200.0}), experiment())
    for sample in (sample for arm in results.arms for sample in arm.samples):
        assert sample.quiet
        assert POLL_SECONDS <= sample.waited_seconds < 0.3
        assert sample.disturbed_by == ()


def test_threads_that_never_rest_are_noticed_and_do_not_stop_us() -> None:
    results = run_in(World({"a": 100.0, "b": 200.0}, never_quiet=True), experiment())
    assert results.complete
    sample = results.arms[0].samples[-1]
    assert not sample.quiet
    assert sample.waited_seconds < 2.5
    assert sample.disturbed_by == ("b",)


def test_a_crash_ends_one_arm_and_keeps_its_values() -> None:
    # 4 measurements calibrate b and 2 warm it up: this one is the first of its second round that counts.
    world = World({"a": 100.0, "b": 200.0}, disasters={("b", 8): WorkerDied("The arm 'b' was ended by signal 11.")})
    events: list[Event] = []
    results = run_in(world, experiment(), on_event=events.append)
    a, b = results.arms
    assert not results.complete
    assert len(a.rates("pp")) == 4
    assert 0 < len(b.rates("pp")) < 4
    assert b.ended == "The arm 'b' was ended by signal 11."
    assert ArmEnded("b", b.ended) in events
    assert world.closed[0] == ("b", True)
    done = [event for event in events if isinstance(event, Progress) and event.stage == "measure"][-1]
    assert (done.done, done.total, done.seconds_left) == (done.total, done.total, 0.0)


def test_ctrl_c_keeps_what_was_measured() -> None:
    world = World({"a": 100.0, "b": 200.0}, disasters={("a", 10): KeyboardInterrupt()})
    results = run_in(world, experiment())
    assert results.interrupted
    assert not results.complete
    assert results.arms[0].rates("pp")
    assert world.closed == [("a", True), ("b", True)]


def test_no_value_at_all_is_an_error() -> None:
    world = World({"a": 100.0}, disasters={("a", 0): WorkerRefused("ContextFull: 50 tokens")})
    with pytest.raises(LabError, match="ContextFull"):
        run_in(world, experiment("a"))
    assert world.closed == [("a", True)]


def test_a_worker_that_does_not_start_ends_all() -> None:
    world = World({"a": 100.0, "b": 200.0})

    def spawner(arm: Arm) -> FakeWorker:
        if arm.name == "b":
            raise WorkerDied("The arm 'b' did not start.")
        return world.spawn(arm)

    with pytest.raises(LabError, match="'b' did not start"):
        run(experiment(), spawner=spawner, clock=world.clock, sleep=world.sleep)
    assert world.closed == [("a", True)]


def test_another_version_of_the_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeWorker, "hello", lambda self: {"protocol": "llamasmith.worker/0"})
    with pytest.raises(LabError, match="install the same version"):
        run_in(World({"a": 1.0}), experiment("a"))


def test_progress_knows_the_time_left() -> None:
    events: list[Event] = []
    run_in(World({"a": 100.0, "b": 100.0}), experiment(), on_event=events.append)
    steps = [event for event in events if isinstance(event, Progress) and event.stage == "measure"]
    assert [step.done for step in steps] == list(range(1, 21))
    assert {step.total for step in steps} == {20}
    left = [step.seconds_left for step in steps if step.seconds_left is not None]
    assert left[0] > left[10] > left[-1] == 0.0


# The worker's own side, with a stand-in for the package.


class FakeSession:
    def __init__(self, clock: list[float]) -> None:
        self.clock = clock
        self.pool = SimpleNamespace(wait="spin")
        self.held: list[int] = []
        self.prompts: list[list[int]] = []
        self.short = 0

    def reset(self) -> None:
        self.held = []

    def decode(self, tokens: list[int]) -> npt.NDArray[np.float32]:
        assert tokens
        self.held += tokens
        self.prompts.append(list(self.held))
        self.clock[0] += 0.5
        logits = np.zeros(9, dtype=np.float32)
        logits[len(self.held) % 9] = 1.0
        return logits

    def generate(self, prompt: list[int], max_tokens: int, temperature: float, ignore_eos: bool) -> SimpleNamespace:
        assert self.held == []
        assert (temperature, ignore_eos) == (0.0, True)
        count = max_tokens - self.short
        timings = SimpleNamespace(generated_tokens=count, generate_seconds=0.25)
        return SimpleNamespace(tokens=tuple(range(count)), timings=timings)


def loaded_bench() -> tuple[Bench, FakeSession, dict[str, Any]]:
    clock = [0.0]
    session = FakeSession(clock)
    package = SimpleNamespace(
        load_engine=lambda name: SimpleNamespace(name=name, features=("AVX2",)),
        Model=lambda path, **options: SimpleNamespace(
            n_vocab=9, desc=f"{path} {options}", tokenize=lambda text: list(text.encode())[:3]
        ),
        Session=lambda model, **options: session,
        build_info=lambda: SimpleNamespace(asdict=lambda: {"pin": "p"}),
        thread_budget=lambda: SimpleNamespace(budget=2, reasons=("affinity",)),
    )
    bench = Bench(package, clock=lambda: clock[0])
    facts = bench.load(engine="patched", model="m", model_options={"use_extra_bufts": True}, session_options={})
    return bench, session, dict(facts)


def test_load_returns_facts() -> None:
    _, _, facts = loaded_bench()
    assert facts["engine"] == "patched"
    assert facts["n_vocab"] == 9
    assert facts["build"] == {"pin": "p"}
    assert facts["thread_budget"] == {"budget": 2, "reasons": ["affinity"]}


def test_prompt_processing_takes_fixed_tokens_from_an_empty_memory() -> None:
    bench, session, _ = loaded_bench()
    sample = bench.measure(metric="pp", n=20, repeats=3, seed=1)
    assert sample["tokens"] == 20
    assert sample["seconds"] == [0.5] * 3
    assert session.prompts[0] == session.prompts[1] == session.prompts[2]
    assert len(session.prompts[0]) == 20
    assert set(session.prompts[0]) <= set(range(9))


def test_generation_is_timed_after_the_token_that_comes_with_the_prompt() -> None:
    bench, session, _ = loaded_bench()
    sample = bench.measure(metric="tg", n=16, repeats=2, seed=1)
    assert (sample["tokens"], sample["seconds"]) == (16, [0.25, 0.25])
    session.short = 1
    with pytest.raises(RuntimeError, match="n_ctx too small"):
        bench.measure(metric="tg", n=16, repeats=1, seed=1)


def test_outputs_cover_a_batch_and_a_single_token() -> None:
    bench, session, _ = loaded_bench()
    first = bench.outputs(n=4)
    assert first["tokens"] == [0, 1, 2, 3]
    assert first == bench.outputs(n=4)
    assert [len(prompt) for prompt in session.prompts[:2]] == [3, 4]
    assert PROMPT


def test_a_failed_request_is_a_reply_and_the_worker_lives_on() -> None:
    requests = [{"id": 1, "op": "measure", "metric": "x", "n": 1, "repeats": 1, "seed": 0}, {"id": 2, "op": "nonsense"}]
    requests += [{"id": 3, "op": "hello"}, {"id": 4, "op": "quit"}, {"id": 5, "op": "hello"}]
    replies = io.StringIO()
    serve([json.dumps(request) for request in requests], replies, Bench())
    answers = [json.loads(line) for line in replies.getvalue().splitlines()]
    assert [answer["ok"] for answer in answers] == [False, False, True, True]
    assert "metric is 'x'" in answers[0]["error"]
    assert "KeyError: 'nonsense'" in answers[1]["error"]


# Real processes.

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
        with pytest.raises(WorkerRefused, match="metric is 'x'"):
            worker.request("measure", metric="x", n=1, repeats=1, seed=0)
    finally:
        worker.close()


def test_stray_words_go_to_stderr_not_into_the_protocol() -> None:
    worker = stub(
        """
        import os, sys
        from llamasmith.lab.worker import Bench, _protect_stdout, serve
        with _protect_stdout() as replies:
            print("python speaks", flush=True)
            os.write(1, b"native code speaks\\n")
            serve(sys.stdin, replies, Bench())
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
