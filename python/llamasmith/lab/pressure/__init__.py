"""Pressure: what makes a machine busy, or small, while arms are measured."""

from __future__ import annotations

from .errors import ConditionNotMet
from .neighbours import Neighbours
from .quota import Quota, Throttling, own_throttling

__all__ = ["ConditionNotMet", "Neighbours", "Quota", "Throttling", "own_throttling"]
