"""Conditions: what else happens on the machine while the arms are measured."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ..errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .keys import Value

__all__ = ["IDLE", "Condition", "parse_condition"]

# A shorter turn is lost in the scheduler's time slices; samples must last two of the longest.
_LEAST_TURN = 0.1
_LONGEST_TURN = 60.0


@dataclass(frozen=True)
class Condition:
    """One cell's surroundings; without any of them the machine is idle.

    Attributes:
        neighbours: pure-CPU processes beside the arms.
        oversubscribe: arms that name no number of threads have so many times the default number.
        quota: CPUs that the arms may use together, by a cgroup.
        sessions: sessions of one process that work at once.
        nice: niceness of the neighbours, from -20 (the most CPU time, which takes root) to 19.
        every: seconds for which the neighbours work and rest in turn, all at once; 0: they never rest.
    """

    neighbours: int = 0
    oversubscribe: int = 1
    quota: float | None = None
    sessions: int = 1
    nice: int = 0
    every: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("neighbours", 0), ("oversubscribe", 1), ("sessions", 1)):
            if getattr(self, name) < least:
                raise InvalidOption(f"{name} is {getattr(self, name)}; at least {least} is needed.")
        if self.quota is not None and not self.quota >= 0.01:
            raise InvalidOption(f"quota is {self.quota}; it is a number of CPUs from 0.01, such as 1 or 1.5.")
        if not -20 <= self.nice <= 19:
            raise InvalidOption(f"nice is {self.nice}; it is a number from -20 to 19.")
        if self.every != 0 and not _LEAST_TURN <= self.every <= _LONGEST_TURN:
            raise InvalidOption(
                f"every is {self.every:g}; neighbours work and rest for {_LEAST_TURN:g} to {_LONGEST_TURN:g} seconds, "
                f"or never rest (0)."
            )
        if not self.neighbours and (self.nice or self.every):
            raise InvalidOption("nice and every say how the neighbours work: give neighbours=N too.")

    @property
    def period(self) -> float:
        """Seconds until the condition repeats itself, which a sample must last; 0 where it does not change."""
        return 2 * self.every

    @property
    def name(self) -> str:
        """``idle``, or what is not as on an idle machine: ``neighbours=2, quota=1``."""
        changed = [
            f"{field.name}={getattr(self, field.name):g}"
            for field in fields(self)
            if getattr(self, field.name) != field.default
        ]
        return ", ".join(changed) or "idle"

    def defaults(self, defaults: Mapping[str, Value]) -> dict[str, Value]:
        """The settings of arms that leave them open, under this condition."""
        n_threads = defaults.get("n_threads")
        if self.oversubscribe == 1 or not isinstance(n_threads, int):
            return dict(defaults)
        return {**defaults, "n_threads": n_threads * self.oversubscribe}

    def asdict(self) -> dict[str, Any]:
        """All fields, ready for JSON, with the name."""
        return {"name": self.name, **{field.name: getattr(self, field.name) for field in fields(self)}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Condition:
        """The condition that `asdict()` described."""
        return cls(**{field.name: values.get(field.name, field.default) for field in fields(cls)})


IDLE = Condition()


def parse_condition(text: str) -> Condition:
    """A condition from ``idle`` or ``key=value[,key=value]``. Raises InvalidOption."""
    values: dict[str, Any] = {}
    for part in [] if text.strip() == "idle" else text.split(","):
        word, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or word not in (field.name for field in fields(Condition)):
            raise InvalidOption(
                f"The condition {text!r} has {part.strip()!r}. Allowed: idle, or neighbours=N, oversubscribe=K, "
                f"quota=CPUS, sessions=N, nice=N, every=SECONDS, separated by commas."
            )
        try:
            values[word] = float(value) if word in ("quota", "every") else int(value)
        except ValueError:
            raise InvalidOption(f"In the condition {text!r}, {word}={value!r} is not a number.") from None
    return Condition(**values)
