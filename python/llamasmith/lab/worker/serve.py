"""The worker's side of the pipe."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
from typing import TYPE_CHECKING, Any, TextIO

from .environment import deciding
from .lifetime import end_with_parent
from .protocol import PROTOCOL
from .subjects import make_subject
from .usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .subject import Subject

__all__ = ["Worker", "main", "serve"]


class Worker:
    """What a worker can do; `make` makes the subject that an arm names."""

    def __init__(self, make: Callable[[str], Subject] = make_subject) -> None:
        self._make = make
        self._subject: Subject | None = None

    def hello(self) -> dict[str, Any]:
        """Who answers, before anything is loaded."""
        return {"protocol": PROTOCOL, "pid": os.getpid(), "python": platform.python_version()}

    def load(self, *, subject: str, sessions: int, **options: Any) -> dict[str, Any]:
        """Loads a subject, which all later requests use, and returns its facts."""
        self._subject = self._make(subject)
        facts = self._subject.load(sessions=sessions, **options)
        return facts | {"environment": deciding(os.environ), "python": platform.python_version()}

    def outputs(self, *, n: int, limit_seconds: float) -> dict[str, Any]:
        """``outputs``: what the subject generates, or null if it cannot tell."""
        return {"outputs": self._loaded().outputs(n, limit_seconds)}

    def distributions(self, **options: Any) -> dict[str, Any]:
        """Writes the token distributions over a text to a file."""
        return self._loaded().distributions(**options)

    def measure(self, *, metric: str, n: int, repeats: int, seed: int, limit_seconds: float) -> dict[str, Any]:
        """One sample: `repeats` times ``pp`` (a prompt of `n` tokens), ``tg`` (`n` generated tokens) or ``ttft``.

        Once `limit_seconds` are over there are no more repeats, and generation ends early where it can. Returns the
        tokens of all repeats (and sessions), the seconds of each, and what the process has used for all with what lies
        around them; null for a subject that works elsewhere.
        """
        subject, before = self._loaded(), Usage.now()
        tokens, seconds = subject.sample(metric, n, seed, repeats, limit_seconds)
        usage = Usage.now().since(before) if subject.has_resource_usage else None
        return {
            "tokens": tokens,
            "seconds": seconds,
            "usage": usage,
            "overlap": getattr(subject, "overlap", None),
        }

    def _loaded(self) -> Subject:
        if self._subject is None:
            raise RuntimeError("nothing is loaded yet")
        return self._subject


def serve(requests: Iterable[str], replies: TextIO, worker: Worker) -> None:
    """Answers every request until ``quit`` or the end of the input. A failed request is a reply, not an end."""
    operations: dict[str, Callable[..., dict[str, Any]]] = {
        "hello": worker.hello,
        "load": worker.load,
        "outputs": worker.outputs,
        "measure": worker.measure,
        "distributions": worker.distributions,
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


def main() -> int:
    """Serves standard input until it ends."""
    # Ctrl-C reaches the whole foreground process group; what becomes of the arms is the parent's decision alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    with _protect_stdout() as replies:
        serve(sys.stdin, replies, Worker())
    return 0
