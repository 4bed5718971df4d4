"""What the tests of several subjects share: a clock that only stand-ins move, and the way to load a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llamasmith.lab.worker.foreign import INSTALL

if TYPE_CHECKING:
    from llamasmith.lab.worker.subject import Subject

N_VOCAB = 100
PROMPT_TOKENS = [1, 2, 3]
PER_TOKEN = 0.25  # seconds that a stand-in needs: a sum of them is exact
NO_LIMIT = float("inf")
PEERS = sorted(INSTALL)


class Clock:
    """Time that passes only when a stand-in works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def load(subject: Subject, engine: str = "", sessions: int = 1, **settings: Any) -> dict[str, Any]:
    return subject.load(
        engine=engine, model="folder/m.gguf", model_options={}, session_options=settings, sessions=sessions
    )
