"""How far the baseline seems to differ from itself, by its repetition (A/A): less than that is no effect."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..stats import Ratio
from ..words import times

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["noise_band", "noise_in_words"]


def noise_band(cell: Mapping[str, Any], metric: Mapping[str, Any]) -> tuple[float, float] | None:
    """From where to where a ratio may be nothing but noise, as verdicts have it; None where it is not known."""
    arm = next((arm["name"] for arm in cell["arms"] if arm["repeats_first"]), None)
    found = metric["ratio"].get(arm)
    reach = None if found is None else Ratio(**found).noise()
    return None if reach is None else (math.exp(-reach), math.exp(reach))


def noise_in_words(cell: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """``±1.2 %``, or ``up to`` a ratio where the machine was anything but quiet; "" where it is not known."""
    band = noise_band(cell, metric)
    if band is None:
        return ""
    return f"±{100 * (band[1] - 1):.1f} %" if band[1] < 2 else f"up to {times(band[1])}×"
