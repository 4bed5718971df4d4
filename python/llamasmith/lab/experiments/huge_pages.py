"""Weights, caches and activations in huge pages."""

from __future__ import annotations

from ...huge_pages import VARIABLE, huge_pages
from .definition import Definition, Here

__all__ = ["EXPERIMENT"]


def _arms(here: Here) -> list[str]:
    return [
        f"patched,load_mode=none,env.{VARIABLE}=0,name=small pages",
        "patched,load_mode=none,name=huge pages",
        "patched,load_mode=mmap,name=file mapped",
    ]


def _needs(here: Here) -> str | None:
    if "patched" not in here.engines:
        return "the engine patched was not built; leave it in."
    if huge_pages() == "never":
        return "as root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"
    return None


EXPERIMENT = Definition(
    name="huge-pages",
    question=(
        "Do huge pages pay for weights, and does a copy of the model in them (load_mode=none) against the mapped file?"
    ),
    arms=_arms,
    metrics=("pp128", "tg64"),
    needs=_needs,
)
