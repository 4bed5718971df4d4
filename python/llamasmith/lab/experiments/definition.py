"""What an experiment is before it meets a machine and a model."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ...build import build_info
from ...errors import LabError
from ...threads import thread_budget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
        return cls(build.engines, build.backends, build.tools, thread_budget().budget)

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
    """

    name: str
    question: str
    arms: Sequence[str] | Callable[[Here], Sequence[str]]
    conditions: Sequence[str] = ("idle",)
    metrics: Sequence[str] = ("pp128", "tg64")
    needs: Callable[[Here], str | None] = lambda here: None
    quality: bool = False

    def arms_here(self, here: Here) -> list[str]:
        """The words of the arms on this machine. Raises LabError where it cannot run."""
        reason = self.needs(here)
        if reason is not None:
            raise LabError(f"The experiment {self.name} cannot run here: {reason}")
        return list(self.arms(here) if callable(self.arms) else self.arms)
