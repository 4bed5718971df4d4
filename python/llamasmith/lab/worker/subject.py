"""A subject: a library or program that can run a model, behind the few things that a worker asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PROMPT", "NotSupported", "Subject", "SubjectMissing"]

PROMPT = "Once upon a time there was a small computer that"
"""What generation starts from, in samples and in the check for equal output."""


class SubjectMissing(Exception):
    """The library is not installed in this environment; the message has the command that installs it."""


class NotSupported(Exception):
    """The subject cannot do what was asked."""


class Subject(ABC):
    """One library with one model loaded. A subclass lives in ``subjects/`` and imports its library in `load()`.

    Times are seconds by a monotonic clock, around the work alone.
    """

    has_resource_usage: ClassVar[bool] = True
    """Whether this process does the work, so that its own counters tell what the work has cost."""

    n_sessions: int = 1
    """Sessions that work at once."""

    @abstractmethod
    def load(
        self, *, engine: str, model: str, model_options: dict[str, Any], session_options: dict[str, Any], sessions: int
    ) -> dict[str, Any]:
        """Loads `model`, opens `sessions` contexts, returns facts (``library``, ``version``, what else is known).

        Raises SubjectMissing, or NotSupported (an option, or more than one session).
        """

    @abstractmethod
    def prompt(self, n: int, seed: int) -> float:
        """Seconds for reading `n` tokens, the pseudo-random ones of `seed`, from an empty memory."""

    @abstractmethod
    def generate(self, n: int) -> float:
        """Seconds for generating `n` greedy tokens after the one that comes with `PROMPT`; never ends early."""

    def generate_within(self, n: int, limit_seconds: float) -> tuple[int, float]:
        """Like `generate()`, but may end early once `limit_seconds` are over.

        Returns the tokens that came in all sessions together, at least one in each, and the seconds.
        """
        return n * self.n_sessions, self.generate(n)

    def first_token(self, n: int, seed: int) -> float:
        """Seconds from the start of a prompt of `n` tokens until the first token is chosen."""
        raise NotSupported("time to first token is not available here")

    def sample(self, metric: str, n: int, seed: int, repeats: int, limit_seconds: float) -> tuple[int, list[float]]:
        """`repeats` times ``pp``, ``tg`` or ``ttft``; once `limit_seconds` are over there are no more repeats.

        Returns the tokens of all repeats and sessions, and the seconds of each repeat.
        """
        seconds: list[float] = []
        measures: dict[str, Callable[[], tuple[int, float]]] = {
            "pp": lambda: (n * self.n_sessions, self.prompt(n, seed)),
            "tg": lambda: self.generate_within(n, limit_seconds - sum(seconds)),
            "ttft": lambda: (n, self.first_token(n, seed)),
        }
        if metric not in measures:
            raise ValueError(f"metric is {metric!r}; allowed: {', '.join(measures)}")
        tokens = 0
        for _ in range(repeats):
            done, took = measures[metric]()
            tokens += done
            seconds.append(took)
            if sum(seconds) >= limit_seconds:
                break
        return tokens, seconds

    def outputs(self, n: int, limit_seconds: float) -> dict[str, Any] | None:
        """`n` greedy tokens after `PROMPT` (``tokens``), and a hash of logits if there are any (``logits_sha256``).

        May give fewer tokens once `limit_seconds` are over.
        """
        return None

    def distributions(self, text: str, n_tokens: int, chunk: int, file: str) -> dict[str, Any]:
        """Writes log-probabilities to `file` (.npy) and returns what is known of them; see `lab.quality`."""
        raise NotSupported("token distributions are not available here")
