"""One row from sources to a proven wheel: the steps in order, and what came of them."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import build, clean, contents, repair, twice
from .build import StepFailed
from .matrix import ANY_PYTHON, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .matrix import Row


@dataclass
class Outcome:
    """What came of one wheel. ``failed`` is empty if all is as the row says."""

    row: Row
    python: str
    wheel: Path | None = None
    failed: str = ""
    seconds: float = 0
    megabytes: float = 0
    seen: dict[str, Any] = field(default_factory=dict)
    """What the smoke test saw, ``install_seconds``, ``model``, and ``twice`` if it was built twice."""


@dataclass(frozen=True)
class Job:
    """What is the same for all rows of a run."""

    work: Path
    out: Path
    sdist: Path
    plat: str = ""
    twice: bool = False
    say: Callable[[str], None] = lambda what: None


def make(row: Row, python: str, interpreter: str, job: Job, made: Mapping[str, list[Path]]) -> Outcome:
    """All steps for one wheel; the first one that fails ends it. ``made``: wheels of other rows, by row."""
    outcome, start = Outcome(row, python), time.monotonic()
    work = job.work / f"{row.name}-{python}"
    work.mkdir(parents=True, exist_ok=True)
    log = work / "log.txt"
    log.unlink(missing_ok=True)
    label = row.name if python == ANY_PYTHON else f"{row.name}, Python {python}"

    def step(what: str) -> None:
        job.say(f"{label}: {what}")

    try:
        outcome.wheel = _build(row, interpreter, job, work / "first", log, step)
        outcome.megabytes = outcome.wheel.stat().st_size / 1e6
        _check(row, outcome.wheel, job, work / "first")
        companions = [wheel for name in row.companions for wheel in made.get(name, ())]
        _try(row, interpreter, outcome, clean.matching(companions, interpreter_tag(interpreter)), log, step)
        if job.twice:
            _again(row, interpreter, outcome, job, work / "second", log, step)
    except StepFailed as error:
        outcome.failed = str(error)
    outcome.seconds = time.monotonic() - start
    return outcome


def prove(row: Row, wheel: Path, job: Job, companions: list[Path]) -> Outcome:
    """For a wheel that was built elsewhere, as by cibuildwheel: contents, an installation, the tests."""
    try:
        found = contents.Wheel(wheel)
        wrong = contents.problems(row, found)
    except contents.UNREADABLE as error:
        return Outcome(row, "", wheel, failed=f"{wheel} cannot be read: {error}")
    python = next(iter(found.tags)).interpreter
    version = ANY_PYTHON if python == ANY_PYTHON else f"{python[2]}.{python[3:]}"
    outcome, start = Outcome(row, version, wheel, megabytes=found.megabytes), time.monotonic()
    work = job.work / f"{row.name}-{version}"
    work.mkdir(parents=True, exist_ok=True)
    log = work / "log.txt"
    log.unlink(missing_ok=True)
    try:
        if wrong:
            raise StepFailed("it is not what its row says:\n" + "\n".join(f"    {line}" for line in wrong))
        (interpreter,) = build.interpreters(row, () if version == ANY_PYTHON else (version,)).values()
        fitting = clean.matching(companions, interpreter_tag(interpreter))
        _try(row, interpreter, outcome, fitting, log, lambda what: job.say(f"{wheel.name}: {what}"))
    except StepFailed as error:
        outcome.failed = str(error)
    outcome.seconds = time.monotonic() - start
    return outcome


def interpreter_tag(interpreter: str) -> str:
    """``cp311``: what of several wheels of the core an interpreter can install."""
    code = "import sys; print(f'cp{sys.version_info.major}{sys.version_info.minor}')"
    return subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def _build(
    row: Row, interpreter: str, job: Job, work: Path, log: Path, step: Callable[[str], None], *, cache: bool = True
) -> Path:
    work.mkdir(parents=True, exist_ok=True)
    source = build.unpack(job.sdist, work / "sdist")
    step("building")

    def progress(line: str) -> None:
        if line.startswith("[") and "]" in line:
            step(f"compiling {line[1 : line.index(']')].replace('/', ' of ')}")

    if not cache:
        shutil.rmtree(work / "build", ignore_errors=True)
    wheel = build.make_wheel(row, source, interpreter, work, log, cache=cache, say=progress)
    step("auditwheel")
    repaired = repair.repair(row, wheel, work, log, repair.policy(row, job.plat))
    if not cache:
        return repaired
    job.out.mkdir(parents=True, exist_ok=True)
    shutil.copy(repaired, job.out / repaired.name)
    return job.out / repaired.name


def _check(row: Row, wheel: Path, job: Job, work: Path) -> None:
    wrong = contents.problems(
        row, contents.Wheel(wheel), work / "sdist" / "source", (str(job.work.resolve()), str(ROOT), "/tmp/pip-")
    )
    if wrong:
        raise StepFailed(f"{wheel.name} is not what its row says:\n" + "\n".join(f"    {line}" for line in wrong))


def _try(
    row: Row, interpreter: str, outcome: Outcome, companions: list[Path], log: Path, step: Callable[[str], None]
) -> None:
    assert outcome.wheel is not None
    step("installing into an empty environment")
    venv, seconds = clean.install(interpreter, [*companions, outcome.wheel], log.parent, log)
    model, name = clean.a_model(venv, log) if "generate" in row.tests else (None, "")
    step("trying it")
    version = str(contents.Wheel(outcome.wheel).version)
    outcome.seen = {"install_seconds": seconds, "model": name, **clean.smoke(row, venv, version, model, log)}


def _again(
    row: Row, interpreter: str, outcome: Outcome, job: Job, work: Path, log: Path, step: Callable[[str], None]
) -> None:
    """Once more, in another folder, compiled anew: the same bytes."""
    assert outcome.wheel is not None

    def second(what: str) -> None:
        step(f"a second time: {what}")

    other = _build(row, interpreter, job, work, log, second, cache=False)
    differ = twice.differences(outcome.wheel, other)
    outcome.seen["twice"] = not differ
    if differ:
        lines = "\n".join(f"    {line}" for line in differ[:20])
        raise StepFailed(f"built twice, {outcome.wheel.name} has not the same bytes:\n{lines}")


def sdist_twice(job: Job, log: Path) -> list[str]:
    """An sdist of the unpacked sdist is the sdist: neither the folder nor the checkout is in it."""
    source = build.unpack(job.sdist, job.work / "sdist-twice")
    again = build.make_sdist(job.work / "sdist-again", log, source)
    return twice.differences(job.sdist, again)
