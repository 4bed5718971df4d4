"""Whether the default of the engine patched is right, whatever else happens on the machine."""

from __future__ import annotations

from ..requirements import Requirement
from .definition import Definition, Here

__all__ = ["EXPERIMENT"]

_UPSTREAMS = ("upstream-openmp", "upstream")
_POLICIES = ("spin", "yield", "park")
_ONE, _EACH, _AUTO = "1 thread", "a thread for each CPU", "its own choice"

# What a user could have fixed beforehand: a way of waiting, and a number of threads.
_FIXED = (*_UPSTREAMS, *_POLICIES, _ONE)
_BEST = "the best fixed choice"
_ALL = ("patched", *_FIXED)

_CALM, _TURNS, _UNEVEN = "idle", "neighbours=2,every=2", "neighbours=1,nice=-10"
_BUSY = tuple(f"neighbours={n}" for n in (1, 2, 4))
_MANY = ("oversubscribe=2", "oversubscribe=4")

# Left out is what makes a token in seconds: pools that spin, with more threads than CPUs; and beside a neighbour of
# higher weight all that wait for a thread without sleeping (0.1 tokens/s were seen). And in each cell what no figure
# asks for, since every arm costs the time of all.
_ONLY = {
    _CALM: _ALL,
    **dict.fromkeys(_MANY, ("upstream-openmp", "patched", _EACH, "yield")),
    **dict.fromkeys(_BUSY, _ALL),
    _UNEVEN: ("patched", "park", _ONE),
    _TURNS: ("upstream-openmp", "patched", _ONE),
    "quota=1": (*_UPSTREAMS, "patched", _ONE, _AUTO),
    "sessions=2": (*_UPSTREAMS, "patched"),
}


def _arms(here: Here) -> list[str]:
    policies = [f"patched,wait={policy},name={policy}" for policy in _POLICIES]
    counts = [f"patched,t={t},name={name}" for t, name in ((1, _ONE), (here.budget, _EACH), ("auto", _AUTO))]
    return [*_UPSTREAMS, "patched", *policies, *counts]


def _needs(here: Here) -> str | None:
    missing = [engine for engine in (*_UPSTREAMS, "patched") if engine not in here.engines]
    if missing:
        return f"this build has no engine {', '.join(missing)}; build all three."
    return "it takes two CPUs or more." if here.budget < 2 else None


_SPEED = (
    Requirement(_CALM, "patched", 1.00, over=_UPSTREAMS, low=0.98, called="the better upstream"),
    *(Requirement(many, "patched", 0.90, over=(_EACH,)) for many in _MANY),
    *(
        requirement
        for busy in _BUSY
        for requirement in (
            Requirement(busy, "patched", 0.95, over=_FIXED, called=_BEST),
            Requirement(busy, "patched", 1.70, over=_UPSTREAMS, called="the better upstream"),
        )
    ),
    Requirement(
        _TURNS, "patched", 0.90, over=("patched",), means=(_CALM, "neighbours=2"), called="mean of idle and busy"
    ),
    Requirement(_UNEVEN, "patched", 0.90, over=("park", _ONE), called=_BEST),
    Requirement("quota=1", _AUTO, 1.15, over=("upstream",)),
    Requirement("quota=1", "patched", 0.95, over=(_ONE,)),
    Requirement("sessions=2", "patched", 0.90, over=("patched",), means=(_CALM,), called="one session, idle"),
)
_COSTS = (
    *(
        Requirement(words, "patched", 1.00, over=("upstream-openmp",), what="cpu")
        for words in _ONLY
        if words != _UNEVEN
    ),
    Requirement("quota=1", _AUTO, 1.00, over=("upstream-openmp",), what="cpu"),
    Requirement(_CALM, "patched", 0.005, what="idle"),
)

EXPERIMENT = Definition(
    name="threads",
    question="Is the default of the engine patched right, whatever else happens on the machine?",
    arms=_arms,
    conditions=tuple(_ONLY),
    metrics=("pp128", "tg64"),
    needs=_needs,
    only=_ONLY,
    requirements=sorted((*_SPEED, *_COSTS), key=lambda one: list(_ONLY).index(one.under)),
)
