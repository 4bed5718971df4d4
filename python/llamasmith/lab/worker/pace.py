"""How much fits into a time, for what cannot be stopped once it runs."""

from __future__ import annotations

__all__ = ["Pace"]


class Pace:
    """Seconds per token, as last seen; before that, nothing fits into any time."""

    def __init__(self) -> None:
        self._seconds_per_token = float("inf")

    def saw(self, tokens: int, seconds: float) -> None:
        """Remembers the last measurement."""
        self._seconds_per_token = seconds / tokens

    def fits(self, tokens: int, limit_seconds: float, least: int = 1) -> int:
        """As many of `tokens` as take no longer than `limit_seconds`, but at least `least`."""
        needed = tokens * self._seconds_per_token
        return tokens if needed <= limit_seconds else max(least, int(limit_seconds / self._seconds_per_token))
