"""The parent's side of a worker: starts the process, asks it, and ends it whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, Protocol

from ..errors import LabError
from .arm import Arm
from .environment import worker_environment
from .extra import need
from .worker import bootstrap

__all__ = ["Spawner", "Worker", "WorkerDied", "WorkerProcess", "WorkerRefused", "cpu_seconds_of", "spawn"]

_STDERR_LINES = 20


class WorkerDied(LabError):
    """The process of an arm ended, or no longer speaks the protocol."""


class WorkerRefused(LabError):
    """The worker answered a request with an error; it lives on."""


class Worker(Protocol):
    """What the runner needs of an arm's process; tests have their own."""

    def request(self, op: str, **fields: object) -> dict[str, Any]:
        """Asks, waits, returns the result. Raises WorkerRefused or WorkerDied."""

    def cpu_seconds(self) -> float:
        """CPU time that the process has used so far, in seconds."""

    def rest(self) -> None:
        """Stops the process, with whatever its threads are at: it uses no CPU until it is asked again."""

    def wake(self) -> None:
        """Lets a stopped process go on."""

    def close(self, *, now: bool = False) -> None:
        """Ends the process, with `now` in the midst of a sample too. May be called again."""


Spawner = Callable[[Arm], Worker]


class WorkerProcess:
    """A real worker: JSON lines over its standard input and output."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], grace_seconds: float = 5.0
    ) -> None:
        self._name = name
        # A worker at the end of its input frees a model first; one that does not end is killed.
        self._grace_seconds = grace_seconds
        self._last_id = 0
        self._last_cpu_seconds = 0.0
        # A file, not a pipe: nobody reads along, and a full pipe would stop the worker.
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close())
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=dict(environment),
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            self._stderr.close()
            raise WorkerDied(f"The arm {name!r} did not start: {' '.join(command)}: {error}") from error

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def request(self, op: str, **fields: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.wake()
        self._last_id += 1
        try:
            self._process.stdin.write(json.dumps({"id": self._last_id, "op": op, **fields}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (OSError, ValueError) as error:  # ValueError: the file is closed
            raise self._died(op) from error
        if not line:
            raise self._died(op)
        try:
            reply = json.loads(line)
            number, ok = reply["id"], reply["ok"]
        except (ValueError, TypeError, KeyError) as error:
            raise WorkerDied(f"The arm {self._name!r} answered {op!r} with no reply at all: {line[:200]!r}") from error
        if number != self._last_id:
            raise WorkerDied(f"The arm {self._name!r} answered request {number}, not {self._last_id} ({op!r}).")
        if not ok:
            raise WorkerRefused(f"The arm {self._name!r} refused {op!r}: {reply.get('error')}{self.words()}")
        result: dict[str, Any] = reply["result"]
        return result

    def cpu_seconds(self) -> float:
        try:
            self._last_cpu_seconds = cpu_seconds_of(self.pid)
        except (OSError, need("psutil").Error):
            pass  # it ended: it uses no more, and the next request finds out
        return self._last_cpu_seconds

    def rest(self) -> None:
        self._send(signal.SIGSTOP)
        # Until all its threads have stopped, which takes milliseconds where they have the CPUs. The exit status of a
        # process that has ended instead is left for whoever asks for it.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def wake(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        if self._process.poll() is None:  # nobody else may have got the number of a process that has ended
            self._process.send_signal(number)

    def words(self) -> str:
        """The last lines that the process wrote to stderr, ready to follow a message; "" if there are none."""
        if self._stderr.closed:
            return ""
        # Not seek(): the file's position is shared with the process that writes.
        size = os.fstat(self._stderr.fileno()).st_size
        lines = os.pread(self._stderr.fileno(), size, 0).decode("utf-8", "replace").splitlines()
        if not lines:
            return ""
        return "\nIts last words:\n" + "\n".join(f"  {line}" for line in lines[-_STDERR_LINES:])

    def close(self, *, now: bool = False) -> None:
        if self._process.poll() is None and now:
            self._process.kill()
        self.wake()  # to see the end of its input
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):  # a worker that is gone does not take the end of its input
                self._process.stdin.close()
        try:
            self._process.wait(self._grace_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._stderr.close()

    def _died(self, op: str) -> WorkerDied:
        try:
            code: int | None = self._process.wait(self._grace_seconds)
        except subprocess.TimeoutExpired:
            code = None
        how = "closed its output" if code is None else f"ended with status {code}"
        if code is not None and code < 0:
            how = f"was ended by signal {-code}"
        return WorkerDied(f"The arm {self._name!r} {how} during {op!r}.{self.words()}")


def cpu_seconds_of(pid: int) -> float:
    """CPU seconds that all threads of a process have used, as finely as the system tells."""
    if sys.platform == "linux":
        # clock_getcpuclockid(3), which Python lacks: the clock of another process, in nanoseconds, where
        # /proc/PID/stat counts in steps of 10 ms.
        return time.clock_gettime((~pid << 3) | 2)
    times = need("psutil").Process(pid).cpu_times()
    return float(times.user + times.system)


def spawn(arm: Arm) -> Worker:
    """Starts the worker of an arm, by its own interpreter if it has one."""
    return WorkerProcess(arm.name, bootstrap(arm.python or sys.executable), worker_environment(arm, os.environ))
