"""Whether `adaptive` is right on machines that are not at hand, for which a build stands in (`ci/threads-bench`)."""

from __future__ import annotations

from ..requirements import Requirement
from .definition import Definition, Here

__all__ = ["EXPERIMENT"]

_ONE = "1 thread"
_POLICIES = ("spin", "yield", "park")
_ONLY = {
    "idle": ("patched", *_POLICIES, _ONE),
    "oversubscribe=2": ("patched", "yield", "park", _ONE),  # a token takes seconds with `spin`
    "neighbours=1": ("patched", *_POLICIES, _ONE),
    "neighbours=4": ("patched", "park", _ONE),
}


def _arms(_: Here) -> list[str]:
    return ["patched", *(f"patched,wait={policy},name={policy}" for policy in _POLICIES), f"patched,t=1,name={_ONE}"]


EXPERIMENT = Definition(
    name="stand-in",
    question="Is `adaptive` within 10 % of the best fixed choice, in a build that stands in for another machine?",
    arms=_arms,
    conditions=tuple(_ONLY),
    metrics=("tg64",),
    needs=lambda here: None if "patched" in here.engines else "the engine patched was not built; leave it in.",
    only=_ONLY,
    requirements=[
        Requirement(under, "patched", 0.90, over=arms[1:], called="the best fixed choice")
        for under, arms in _ONLY.items()
    ],
)
