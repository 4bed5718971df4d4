"""Experiments as code: a question with its arms, conditions and metrics. One module each, found by its name.

A new one is a module here, or any Python file (``llamasmith lab run FILE.py``), with::

    EXPERIMENT = Definition(
        name="my-question",
        question="Does ... pay?",
        arms=("upstream", "patched,wait=park"),
        conditions=("idle", "neighbours=2"),
        metrics=("pp128", "tg64"),
    )
"""

from __future__ import annotations

from .definition import Definition, Here
from .registry import find, load_all

__all__ = ["Definition", "Here", "find", "load_all"]
