"""Titles of metrics and conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["condition_title", "metric_title"]


def metric_title(metric: Mapping[str, Any]) -> str:
    """What is measured: ``Generating 64 tokens``."""
    n = f"{metric['n_tokens']} token{'' if metric['n_tokens'] == 1 else 's'}"
    return {
        "pp": f"Reading a prompt of {n}",
        "tg": f"Generating {n}",
        "ttft": f"First token after a prompt of {n}",
    }[metric["kind"]]


def condition_title(condition: Mapping[str, Any]) -> str:
    """A condition as a heading: ``Idle machine``, ``2 busy neighbours``."""
    neighbours, quota = condition["neighbours"], condition["quota"]
    parts = []
    if neighbours:
        parts.append(f"{neighbours} busy neighbour{'' if neighbours == 1 else 's'}")
    if condition["oversubscribe"] > 1:
        parts.append(f"{condition['oversubscribe']} times the threads")
    if quota is not None:
        parts.append(f"quota of {quota:g} CPU{'' if quota == 1 else 's'}")
    if condition["sessions"] > 1:
        parts.append(f"{condition['sessions']} sessions at once")
    text = ", ".join(parts) or "idle machine"
    return text[0].upper() + text[1:]
