"""Titles of metrics and conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..words import pressures

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
    text = ", ".join(what for _, what in pressures(condition)) or "idle machine"
    return text[0].upper() + text[1:]
