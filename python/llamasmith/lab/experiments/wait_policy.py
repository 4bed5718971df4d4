"""The seed of this project: how should threads wait?"""

from __future__ import annotations

from .definition import Definition, Here

__all__ = ["EXPERIMENT"]


def _arms(here: Here) -> list[str]:
    policies = [f"patched,wait={policy},name={label}" for policy, label in _LABELS.items()]
    return [*here.existing("upstream-openmp", "upstream"), *policies]


_LABELS = {"spin": "_mm_pause", "yield": "sched_yield", "park": "park", "adaptive": "adaptive"}

EXPERIMENT = Definition(
    name="wait-policy",
    question=(
        "Which way of waiting at barriers is the fastest: sched_yield, _mm_pause, parking in the kernel, or taking "
        "over the pieces of late threads?"
    ),
    arms=_arms,
    conditions=("idle", "oversubscribe=2", "neighbours=1", "neighbours=2", "neighbours=4", "quota=1"),
    metrics=("tg32",),
    needs=lambda here: None if "patched" in here.engines else "the engine patched was not built; leave it in.",
)
