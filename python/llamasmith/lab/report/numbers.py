"""Numbers and times as a person reads them, with their units."""

from __future__ import annotations

__all__ = ["amount", "interval", "megabytes", "moment", "percent", "seconds_in_words", "shorten"]

_NOTHING = "–"
_SPACE = "\u202f"  # narrow, and no line breaks at it


def amount(value: float | None, factor: float = 1.0) -> str:
    """Three significant digits, whole from 100 on, without an exponent where a person would write none."""
    if value is None:
        return _NOTHING
    value *= factor
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}".replace(",", _SPACE)
    if abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:#.3g}".rstrip(".")


def percent(share: float | None) -> str:
    """A share as whole percent, or with a digit where it is small."""
    if share is None:
        return _NOTHING
    return f"{100 * share:.0f}{_SPACE}%" if share >= 0.0995 or share == 0 else f"{100 * share:.1f}{_SPACE}%"


def megabytes(number: float | None) -> str:
    """Bytes as MB."""
    return _NOTHING if number is None else f"{amount(number / 1e6)}{_SPACE}MB"


def interval(low: float, high: float) -> str:
    """Both ends of an interval, with the same digits."""
    digits = 3 if high < 10 else 1
    return f"{low:.{digits}f} to {high:.{digits}f}"


def seconds_in_words(seconds: float | None) -> str:
    """``45 s``, ``2 min 41 s``, ``1 h 12 min``."""
    if seconds is None:
        return _NOTHING
    if seconds < 10:
        return f"{seconds:.1f}{_SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}{_SPACE}h {minutes}{_SPACE}min"
    return f"{minutes}{_SPACE}min {rest}{_SPACE}s" if minutes else f"{rest}{_SPACE}s"


def moment(iso: str) -> str:
    """``2026-01-02 10:30 UTC`` of an ISO 8601 time in UTC."""
    day, _, rest = iso.partition("T")
    return f"{day} {rest[:5]} UTC" if rest else iso


def shorten(text: str, limit: int) -> str:
    """The text, or its beginning with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
