"""Other libraries that run the same file."""

from __future__ import annotations

from .definition import Definition, Here

__all__ = ["EXPERIMENT"]

_MODULES = {"llama-cpp-python": "llama_cpp", "xllamacpp": "xllamacpp", "transformers": "transformers"}


def _arms(here: Here) -> list[str]:
    return [here.engine, *(f"peer={peer}" for peer, module in _MODULES.items() if here.modules(module))]


EXPERIMENT = Definition(
    name="peers",
    question="How fast is llamasmith beside other libraries that run the same file?",
    arms=_arms,
)
