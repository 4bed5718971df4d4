"""The subjects by the name that an arm gives them; each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..subject import Subject

__all__ = ["SUBJECTS", "make_subject"]

SUBJECTS = {
    "llamasmith": "llamasmith:LlamasmithSubject",
    "llama-cpp-python": "llama_cpp_python:LlamaCppPythonSubject",
    "xllamacpp": "xllamacpp:XllamacppSubject",
    "transformers": "transformers:TransformersSubject",
    "llama-bench": "llama_bench:LlamaBenchSubject",
}
"""Module of this package and class, by name."""


def make_subject(name: str) -> Subject:
    """A subject with nothing loaded. Raises ValueError for a name that is not known."""
    try:
        module, _, cls = SUBJECTS[name].partition(":")
    except KeyError:
        raise ValueError(f"the subject is {name!r}; allowed: {', '.join(SUBJECTS)}") from None
    subject: Subject = getattr(import_module(f".{module}", __name__), cls)()
    return subject
