"""The error of this package."""

from __future__ import annotations

from ...errors import LabError

__all__ = ["ConditionNotMet"]


class ConditionNotMet(LabError):
    """A condition cannot be created here, or is not in force."""
