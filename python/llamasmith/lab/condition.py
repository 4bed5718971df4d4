"""Conditions: what else happens on the machine while the arms are measured."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ..errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .keys import Value

__all__ = ["IDLE", "Condition", "parse_condition"]


@dataclass(frozen=True)
class Condition:
    """One cell's surroundings; without any of them the machine is idle.

    Attributes:
        neighbours: pure-CPU processes that run all the while.
        oversubscribe: arms that name no number of threads have so many times the default number.
        quota: CPUs that the arms may use together, by a cgroup.
        sessions: sessions of one process that work at once.
    """

    neighbours: int = 0
    oversubscribe: int = 1
    quota: float | None = None
    sessions: int = 1

    def __post_init__(self) -> None:
        for name, least in (("neighbours", 0), ("oversubscribe", 1), ("sessions", 1)):
            if getattr(self, name) < least:
                raise InvalidOption(f"{name} is {getattr(self, name)}; at least {least} is needed.")
        if self.quota is not None and not self.quota >= 0.01:
            raise InvalidOption(f"quota is {self.quota}; it is a number of CPUs from 0.01, such as 1 or 1.5.")

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
        return cls(**{field.name: values[field.name] for field in fields(cls)})


IDLE = Condition()


def parse_condition(text: str) -> Condition:
    """A condition from ``idle`` or ``key=value[,key=value]``. Raises InvalidOption."""
    values: dict[str, Any] = {}
    for part in [] if text.strip() == "idle" else text.split(","):
        word, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or word not in (field.name for field in fields(Condition)):
            raise InvalidOption(
                f"The condition {text!r} has {part.strip()!r}. Allowed: idle, or neighbours=N, oversubscribe=K, "
                f"quota=CPUS, sessions=N, separated by commas."
            )
        try:
            values[word] = float(value) if word == "quota" else int(value)
        except ValueError:
            raise InvalidOption(f"In the condition {text!r}, {word}={value!r} is not a number.") from None
    return Condition(**values)
