"""What Python costs."""

from __future__ import annotations

from .definition import Definition, Here

__all__ = ["EXPERIMENT"]


def _arms(here: Here) -> list[str]:
    return [f"peer=llama-bench,engine={here.engine}", here.engine]


EXPERIMENT = Definition(
    name="python-overhead",
    question="How fast is Python beside llama-bench, on the same libraries?",
    arms=_arms,
    metrics=("pp512", "tg128"),
    needs=lambda here: (
        None
        if "llama-bench" in here.tools
        else "it needs llama-bench: install with -C cmake.define.LLAMASMITH_TOOLS=ON."
    ),
)
