"""The process of one arm: loads one engine and one model, then answers requests over a pipe.

Started as ``python -m llamasmith.lab.worker``, possibly by the interpreter of another environment. `protocol` says
what goes over the pipe.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import random
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from .environment import deciding
from .protocol import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["PROMPT", "Bench", "main", "serve"]

PROMPT = "Once upon a time there was a small computer that"
"""What generation starts from, in samples and in the check for equal output."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Bench:
    """What a worker can do. `package` is llamasmith itself, imported no earlier than the first ``load``."""

    def __init__(self, package: Any = None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._package = package
        self._clock = clock
        self._model: Any = None
        self._session: Any = None
        self._prompt: list[int] = []

    def hello(self) -> dict[str, object]:
        """Who answers, before anything is loaded."""
        return {"protocol": PROTOCOL, "pid": os.getpid(), "python": platform.python_version()}

    def load(
        self, *, engine: str, model: str, model_options: dict[str, Any], session_options: dict[str, Any]
    ) -> dict[str, object]:
        """Loads an engine and a model, opens the session that all later requests use, and returns their facts."""
        if self._package is None:
            import llamasmith

            self._package = llamasmith
        loaded = self._package.load_engine(engine)
        self._model = self._package.Model(model, **model_options)
        self._session = self._package.Session(self._model, **session_options)
        self._prompt = list(self._model.tokenize(PROMPT))
        budget = self._package.thread_budget()
        return {
            "engine": loaded.name,
            "features": list(loaded.features),
            "wait": self._session.pool.wait,
            "model": self._model.desc,
            "n_vocab": self._model.n_vocab,
            "build": self._package.build_info().asdict(),
            "thread_budget": {"budget": budget.budget, "reasons": list(budget.reasons)},
            "environment": deciding(os.environ),
        }

    def outputs(self, *, n: int) -> dict[str, object]:
        """`n` greedy tokens, and the SHA-256 of two steps' logits: of a batch (the prompt) and of one more token."""
        import numpy as np

        digest = hashlib.sha256()
        self._session.reset()
        logits = self._session.decode(self._prompt)
        for _ in range(2):
            digest.update(np.ascontiguousarray(logits, dtype="<f4").tobytes())
            logits = self._session.decode([int(np.argmax(logits))])
        self._session.reset()
        generation = self._session.generate(self._prompt, max_tokens=n, temperature=0.0, ignore_eos=True)
        return {"tokens": [int(token) for token in generation.tokens], "logits_sha256": digest.hexdigest()}

    def measure(self, *, metric: str, n: int, repeats: int, seed: int) -> dict[str, object]:
        """One sample: `repeats` times ``pp`` (a prompt of `n` tokens) or ``tg`` (`n` generated tokens).

        Returns the tokens of one repeat, the seconds of each, and the CPU seconds of all with what lies around them.
        """
        measures = {"pp": self._measure_prompt, "tg": self._measure_generation}
        if metric not in measures:
            raise ValueError(f"metric is {metric!r}; allowed: {', '.join(measures)}")
        cpu_before = time.process_time()
        pairs = [measures[metric](n, seed) for _ in range(repeats)]
        cpu_seconds = time.process_time() - cpu_before
        return {"tokens": pairs[0][0], "seconds": [seconds for _, seconds in pairs], "cpu_seconds": cpu_seconds}

    def _measure_prompt(self, n: int, seed: int) -> tuple[int, float]:
        # random.random() is the one method whose sequence Python promises to keep.
        generator = random.Random(seed)
        tokens = [int(generator.random() * self._model.n_vocab) for _ in range(n)]
        self._session.reset()
        begin = self._clock()
        self._session.decode(tokens)
        return n, self._clock() - begin

    def _measure_generation(self, n: int, seed: int) -> tuple[int, float]:
        # The first token comes with the prompt, and its time is the prompt's: one more is asked for.
        self._session.reset()
        timings = self._session.generate(self._prompt, max_tokens=n + 1, temperature=0.0, ignore_eos=True).timings
        if timings.generated_tokens != n + 1:
            raise RuntimeError(f"{timings.generated_tokens} tokens came instead of {n + 1}: is n_ctx too small?")
        return n, timings.generate_seconds


def serve(requests: Iterable[str], replies: TextIO, bench: Bench) -> None:
    """Answers every request until ``quit`` or the end of the input. A failed request is a reply, not an end."""
    operations: dict[str, Callable[..., dict[str, object]]] = {
        "hello": bench.hello,
        "load": bench.load,
        "outputs": bench.outputs,
        "measure": bench.measure,
    }
    for line in requests:
        request = json.loads(line)
        number, op = request.pop("id"), request.pop("op")
        reply: dict[str, object] = {"id": number, "ok": True, "result": {}}
        try:
            if op != "quit":
                reply["result"] = operations[op](**request)
        except Exception as error:
            reply = {"id": number, "ok": False, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)
        if op == "quit":
            return


def _protect_stdout() -> TextIO:
    """A private way to the parent; whatever else prints, natively too, goes to stderr from here on."""
    private = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(2, 1)
    return private


def _end_with_parent() -> None:
    """A parent that is killed cannot end us, and in the midst of a long sample we would not see its pipe close."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main() -> int:
    """Serves standard input until it ends."""
    # Ctrl-C reaches the whole foreground process group; what becomes of the arms is the parent's decision alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with_parent()
    with _protect_stdout() as replies:
        serve(sys.stdin, replies, Bench())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
