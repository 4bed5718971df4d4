"""What an experiment is before it meets a machine and a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ...backend_files import usable_backends
from ...build import build_info
from ...errors import LabError
from ...threads import thread_budget
from ..condition import parse_condition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..condition import Condition
    from ..requirements import Requirement

__all__ = ["Definition", "Here"]


@dataclass(frozen=True)
class Here:
    """What an experiment may ask about this installation and machine.

    `budget` is the number of threads that the machine can keep running; `modules` tells whether a Python module can be
    imported here.
    """

    engines: tuple[str, ...]
    backends: tuple[str, ...]
    tools: tuple[str, ...]
    budget: int
    modules: Callable[[str], bool] = lambda name: find_spec(name) is not None

    @classmethod
    def look(cls) -> Here:
        """At this installation and machine."""
        build = build_info()
        return cls(build.engines, usable_backends(build.backends), build.tools, thread_budget().budget)

    @property
    def engine(self) -> str:
        """The one that runs by default."""
        return (self.existing("patched") or list(self.engines))[0]

    def existing(self, *engines: str) -> list[str]:
        """Those of `engines` that were built, in the given order."""
        return [engine for engine in engines if engine in self.engines]


@dataclass(frozen=True)
class Definition:
    """A named question. `arms` are words, the first one the baseline; or a function of `Here` that gives them.

    Attributes:
        conditions: words such as ``idle`` or ``neighbours=2``; a cell each.
        metrics: names such as ``pp128``, ``tg64``, ``ttft128``.
        needs: says why the experiment cannot run here and how to change that; None if it can.
        quality: whether arithmetic differs, so that token distributions are compared where a text is given.
        only: names of the arms that take part under a condition, by its words. Under others those of the first
            condition do; all of them where nothing is chosen for that one.
        requirements: what the figures must reach; `lab required` holds a record against them.
    """

    name: str
    question: str
    arms: Sequence[str] | Callable[[Here], Sequence[str]]
    conditions: Sequence[str] = ("idle",)
    metrics: Sequence[str] = ("pp128", "tg64")
    needs: Callable[[Here], str | None] = lambda here: None
    quality: bool = False
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)
    requirements: Sequence[Requirement] = ()

    def arms_here(self, here: Here) -> list[str]:
        """The words of the arms on this machine. Raises LabError where it cannot run."""
        reason = self.needs(here)
        if reason is not None:
            raise LabError(f"The experiment {self.name} cannot run here: {reason}")
        return list(self.arms(here) if callable(self.arms) else self.arms)

    def only_under(self, conditions: Iterable[Condition]) -> dict[str, Sequence[str]]:
        """The names of the arms that take part, by the name of the condition, as far as it is one of `conditions`."""
        chosen = {parse_condition(words).name: names for words, names in self.only.items()}
        usual = chosen.get(parse_condition(self.conditions[0]).name)
        found = {condition.name: chosen.get(condition.name, usual) for condition in conditions}
        return {name: names for name, names in found.items() if names is not None}
