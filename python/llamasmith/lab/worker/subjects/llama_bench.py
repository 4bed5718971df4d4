"""Upstream's llama-bench, as an installation of llamasmith with its tools has it."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, ClassVar

from ..foreign import check_options, check_sessions, missing, need
from ..lifetime import end_with_parent
from ..pace import Pace
from ..subject import PROMPT, NotSupported, Subject

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LlamaBenchSubject"]

_NAME = "llama-bench"
_FLAGS = {
    "n_batch": "-b",
    "n_ubatch": "-ub",
    "flash_attn": "-fa",
    "type_k": "-ctk",
    "type_v": "-ctv",
    "use_extra_bufts": "--repack",
}

# What generation goes on from: our prompt, in tokens, as nearly as can be told without the model's vocabulary.
_DEPTH = len(PROMPT.split())

# Loading ends with a trial of both kinds of work, which tells how many tokens take how long.
_TRIAL_PROMPT, _TRIAL_GENERATED = 32, 4

_WORDS = 2000  # of what it wrote, the last characters, for a message


class LlamaBenchSubject(Subject):
    """One run of the program for each sample, which repeats the work inside. `build` is llamasmith.build or a stand-in.

    ``pp`` is its prompt test (its own random tokens), ``tg`` its generation test behind a prompt about as long as ours.
    It chooses no tokens: the next one is random. Times are its own, of each repeat; loading the model and its warm-up
    are not in them. It cannot be stopped, so that the work is cut beforehand to what the last sample's speed allows.

    What it uses is not counted: most of it is loading and warm-up, which no other subject has in a sample.
    """

    has_resource_usage: ClassVar[bool] = False

    def __init__(self, build: Any = None) -> None:
        self._build = build
        self._command: list[str] = []
        self._threads: dict[str, int] = {}
        self._pace = {"pp": Pace(), "tg": Pace()}

    def load(
        self, *, engine: str, model: str, model_options: dict[str, Any], session_options: dict[str, Any], sessions: int
    ) -> dict[str, Any]:
        check_sessions(_NAME, sessions)
        options = model_options | session_options
        check_options(_NAME, options)
        if self._build is None:
            self._build = need(_NAME, "llamasmith.build")
        build = self._build.build_info()
        self._command = [str(self._executable(engine, build)), "-m", model, "-o", "json"]
        for name, flag in _FLAGS.items():
            if name in options:
                value = options[name]
                self._command += [flag, str(int(value) if isinstance(value, bool) else value)]
        if "n_threads" in options:
            batch = options.get("n_threads_batch", options["n_threads"])
            self._threads = {"pp": batch, "tg": options["n_threads"]}
        first = self._run("pp", _TRIAL_PROMPT, 1)
        self._run("tg", _TRIAL_GENERATED, 1)
        return {
            "library": _NAME,
            "version": first["build_commit"],
            "engine": engine,
            "model": first["model_type"],
            "poll": first["poll"],
            "build": build.asdict(),
        }

    def _executable(self, engine: str, build: Any) -> Path:
        if engine not in build.engines:
            raise NotSupported(f"this build has no engine {engine!r}. Engines: {', '.join(build.engines)}")
        file: Path = self._build.package_root() / "engines" / engine / _NAME
        if not file.is_file():
            raise missing(_NAME, f"this build of llamasmith has no {file}")
        return file

    def prompt(self, n: int, seed: int) -> float:
        return self.sample("pp", n, seed, 1, float("inf"))[1][0]

    def generate(self, n: int) -> float:
        return self.sample("tg", n, 0, 1, float("inf"))[1][0]

    def sample(self, metric: str, n: int, seed: int, repeats: int, limit_seconds: float) -> tuple[int, list[float]]:
        if metric not in self._pace:
            raise NotSupported(f"{_NAME} does not measure {metric}. It measures: {', '.join(self._pace)}")
        pace = self._pace[metric]
        if metric == "tg":
            n = pace.fits(n, limit_seconds)
        repeats = max(1, pace.fits(n * repeats, limit_seconds) // n)
        found = self._run(metric, n, repeats)
        seconds = [nanoseconds / 1e9 for nanoseconds in found["samples_ns"]]
        return n * len(seconds), seconds

    def _run(self, metric: str, n: int, repeats: int) -> dict[str, Any]:
        """What one run says. Raises RuntimeError if it fails."""
        work = ["-p", str(n), "-n", "0"] if metric == "pp" else ["-p", "0", "-n", str(n), "-d", str(_DEPTH)]
        command = [*self._command, *work, "-r", str(repeats)]
        if metric in self._threads:
            command += ["-t", str(self._threads[metric])]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,  # ours is the pipe of the requests
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            preexec_fn=end_with_parent,
        )
        try:
            if done.returncode:
                raise ValueError(f"it ended with status {done.returncode}")
            found: dict[str, Any] = json.loads(done.stdout)[0]
            nanoseconds = [int(each) for each in found["samples_ns"]]
        except (ValueError, LookupError, TypeError) as error:
            words = (done.stderr.strip() or done.stdout.strip())[-_WORDS:]
            raise RuntimeError(f"`{' '.join(command)}` failed: {error}\n{words}") from error
        self._pace[metric].saw(n * len(nanoseconds), sum(nanoseconds) / 1e9)
        return found
