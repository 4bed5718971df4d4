"""A made-up world for the lab: a clock that nobody waits for, workers without processes, records without a machine."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llamasmith.lab.arm import Arm
from llamasmith.lab.plan import Experiment, Metric, common_settings
from llamasmith.lab.process import WorkerRefused
from llamasmith.lab.runner import resume, run
from llamasmith.lab.surroundings import ConditionNotMet
from llamasmith.lab.worker import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llamasmith.lab.condition import Condition
    from llamasmith.lab.results import Results

__all__ = ["FACTS", "METRICS", "POLL_SECONDS", "FakeWorker", "Weather", "World", "experiment"]

POLL_SECONDS = 0.1
METRICS = (Metric("pp", 50), Metric("tg", 10))

FACTS: dict[str, Any] = {
    "machine": {"cpu_model": "Some CPU", "cpus_logical": 2, "busy_cpus": 0.0, "load_average": [0.1, 0.1, 0.1]},
    "build": {"pin": "p" * 40, "series_digest": "5" * 64, "version": "1"},
    "model": {"file": "m.gguf", "bytes": 4, "sha256": "0" * 64},
    "packages": {"llamasmith": "1", "numpy": "2"},
    "thread_budget": {"budget": 2, "reasons": ["2 CPUs online"]},
    "environment": {"cleared": {}},
    "roofline": {"gigabytes_per_second": 20.0, "n_threads": 2},
}


@dataclass
class World:
    """A clock that only moves when somebody works or sleeps, and workers whose threads poll a while after work.

    `rates` are tokens per second by arm. `disasters` is what happens to an arm at its n-th measurement, counted from 0,
    calibration included. `noise` multiplies the time of every measurement in turn.
    """

    rates: dict[str, float]
    now: float = 0.0
    log: list[tuple[str, str]] = field(default_factory=list)
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)
    disasters: dict[tuple[str, int], BaseException] = field(default_factory=dict)
    noise: tuple[float, ...] = (1.0,)
    leaky: bool = False
    """A stopped worker goes on using the CPU, by a child that it has left behind."""
    throttles: bool = False
    cannot: dict[str, str] = field(default_factory=dict)
    """Conditions that cannot be created, with the reason."""
    tokens: dict[str, list[int]] = field(default_factory=dict)
    """What an arm generates, where it is not what all others do."""
    idle_cpus: float = 0.0
    """CPUs that an arm uses with nothing to do, after its threads have polled."""
    created: list[str] = field(default_factory=list)
    closed: list[tuple[str, bool]] = field(default_factory=list)
    measurements: int = 0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def spawn(self, arm: Arm) -> FakeWorker:
        return FakeWorker(self, arm)

    @contextmanager
    def create(self, condition: Condition) -> Iterator[FakeSurroundings]:
        if condition.name in self.cannot:
            raise ConditionNotMet(self.cannot[condition.name])
        self.created.append(condition.name)
        yield FakeSurroundings(self)
        self.created.append(f"{condition.name} is over")

    def tools(self) -> dict[str, Any]:
        return {"spawner": self.spawn, "create": self.create, "clock": self.clock, "sleep": self.sleep}

    def run(self, plan: Experiment, **options: Any) -> Results:
        options = {"facts": FACTS, "now": lambda: datetime(2026, 1, 2, tzinfo=timezone.utc), **options}
        return run(plan, **self.tools(), **options)

    def resume(self, results: Results, **options: Any) -> Results:
        return resume(results, **self.tools(), **options)


@dataclass
class Weather(World):
    """A world in which arms are as fast as the condition lets them be."""

    under: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextmanager
    def create(self, condition: Condition) -> Iterator[FakeSurroundings]:
        self.rates = self.under.get(condition.name, self.rates)
        with super().create(condition) as surroundings:
            yield surroundings


@dataclass
class FakeSurroundings:
    world: World
    pids: list[int] = field(default_factory=list)

    def admit(self, pid: int) -> None:
        self.pids.append(pid)

    def start(self) -> str:
        return "seen to be in force"

    def throttled_seconds(self) -> float | None:
        return self.world.now / 10 if self.world.throttles else 0.0


class FakeWorker:
    """An arm's process, as the runner sees it."""

    def __init__(self, world: World, arm: Arm) -> None:
        self.world = world
        self.arm = arm
        self.measured = 0
        self.busy_until = 0.0
        self.cpu = 0.0
        self.looked_at = world.now
        self.resting = False

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        self.wake()
        self.world.log.append((self.arm.name, op))
        return dict(getattr(self, op)(**fields))

    def hello(self) -> dict[str, Any]:
        return {"protocol": PROTOCOL, "pid": 1}

    def load(self, **fields: Any) -> dict[str, Any]:
        self.world.asked[self.arm.name] = fields
        return {"engine": self.arm.engine, "n_vocab": 9, "bytes_per_token": 50_000_000, "build": {"pin": "p"}}

    def outputs(self, n: int, limit_seconds: float) -> dict[str, Any]:
        tokens = self.world.tokens.get(self.arm.name, list(range(n)))
        return {"outputs": {"tokens": tokens, "logits_sha256": str(hash(tuple(tokens)))}}

    def measure(self, metric: str, n: int, repeats: int, seed: int, limit_seconds: float) -> dict[str, Any]:
        disaster = self.world.disasters.get((self.arm.name, self.measured))
        self.measured += 1
        if disaster is not None:
            raise disaster
        once = n / self.world.rates[self.arm.name] * self.world.noise[self.world.measurements % len(self.world.noise)]
        self.world.measurements += 1
        seconds: list[float] = []
        while len(seconds) < repeats and sum(seconds) < limit_seconds:
            seconds.append(once)
        self.world.now += sum(seconds)
        self.busy_until = self.world.now + POLL_SECONDS
        usage = {
            "cpu_seconds": 2 * sum(seconds),
            "voluntary_switches": 3 * len(seconds),
            "involuntary_switches": 1,
            "minor_faults": 0,
            "major_faults": 0,
            "peak_rss_bytes": 100_000_000,
        }
        return {"tokens": n * len(seconds), "seconds": seconds, "usage": usage, "overlap": None}

    def distributions(self, **fields: Any) -> dict[str, Any]:
        raise WorkerRefused("token distributions are not available here")

    def cpu_seconds(self) -> float:
        if not self.resting or self.world.leaky:
            polling = self.world.now if self.world.leaky else min(self.world.now, self.busy_until)
            self.cpu += max(0.0, polling - self.looked_at)
            self.cpu += self.world.idle_cpus * max(0.0, self.world.now - max(self.looked_at, polling))
        self.looked_at = self.world.now
        return self.cpu

    def rest(self) -> None:
        self.cpu_seconds()  # what was used until now
        self.resting = True

    def wake(self) -> None:
        self.cpu_seconds()
        self.resting = False

    def close(self, *, now: bool = False) -> None:
        self.world.closed.append((self.arm.name, now))


def experiment(names: str = "ab", **change: Any) -> Experiment:
    """Arms of one letter each, of the engine ``patched``, without the A/A arm; `change` replaces any field."""
    options: dict[str, Any] = {
        "model": Path("m.gguf"),
        "arms": tuple(Arm(name, "patched", {"n_batch": 64 + index}) for index, name in enumerate(names)),
        "metrics": METRICS,
        "defaults": common_settings(METRICS, n_threads=2),
        "rounds": 4,
        "warmup": 1,
        "aa": False,
        "sample_seconds": 0.2,
        "idle_seconds": 0.0,
        "command": ("llamasmith", "ab", "-m", "m.gguf"),
    }
    return Experiment(**options | change)
