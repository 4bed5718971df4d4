"""What is known of other libraries before they are loaded: how to get them, and which settings they take."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .subject import NotSupported, SubjectMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["INSTALL", "SETTINGS", "check_options", "check_sessions", "missing", "need"]

INSTALL = {
    "llama-cpp-python": "pip install llama-cpp-python",
    "xllamacpp": "pip install xllamacpp",
    "transformers": "pip install transformers torch gguf accelerate",
    "llama-bench": "pip install . -C cmake.define.LLAMASMITH_TOOLS=ON",
}
"""The command that installs a subject, by its name."""

_BATCH = frozenset({"n_threads", "n_threads_batch", "n_batch", "n_ubatch", "flash_attn", "type_k", "type_v"})

SETTINGS = {
    "llama-cpp-python": _BATCH | {"n_ctx"},
    "xllamacpp": _BATCH | {"n_ctx", "use_extra_bufts"},
    "transformers": frozenset({"n_threads"}),
    "llama-bench": _BATCH | {"use_extra_bufts"},
}
"""The settings of a session and a model that a subject takes, by its name."""


def need(subject: str, module: str) -> Any:
    """The module of a subject. Raises SubjectMissing."""
    try:
        return import_module(module)
    except ImportError as error:
        raise missing(subject, str(error)) from error


def missing(subject: str, reason: str) -> SubjectMissing:
    """The error for a subject that this interpreter does not have."""
    return SubjectMissing(
        f"{subject} is not installed for {sys.executable} ({reason}). Install it there with `{INSTALL[subject]}`, or "
        f"name the interpreter of an environment that has it: python=PATH"
    )


def check_options(subject: str, options: Mapping[str, object]) -> None:
    """Raises NotSupported where `options` has more than what the subject takes."""
    taken = SETTINGS[subject]
    more = [name for name in options if name not in taken]
    if more:
        raise NotSupported(f"{subject} does not take {', '.join(more)} here. It takes: {', '.join(sorted(taken))}")


def check_sessions(subject: str, sessions: int) -> None:
    """Raises NotSupported unless there is one session."""
    if sessions != 1:
        raise NotSupported(f"{subject} runs one session here, not {sessions}: leave this arm out of the condition")
