"""Weights rearranged for faster kernels."""

from __future__ import annotations

from .definition import Definition, Here

__all__ = ["EXPERIMENT"]


def _arms(here: Here) -> list[str]:
    return [
        f"{here.engine},use_extra_bufts=off,name=as in the file",
        f"{here.engine},use_extra_bufts=on,name=rearranged",
    ]


EXPERIMENT = Definition(
    name="repack",
    question="Do weights that are rearranged while loading (use_extra_bufts) pay for this model?",
    arms=_arms,
    metrics=("pp128", "pp512", "tg64"),
    quality=True,
)
