"""Every exception that llamasmith raises on purpose.

The C++ extension raises these classes too (``src/ext/errors.cpp`` looks them up here by name), so
``except LlamaError`` catches whatever the package itself can diagnose. A subclass is also a builtin
where one fits, so that code which knows nothing of llamasmith does the right thing.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "BackendNotFound",
    "BuildError",
    "Cancelled",
    "ChatTemplateError",
    "ContextFull",
    "DecodeFailed",
    "EngineError",
    "EngineNotFound",
    "ForkedProcess",
    "HubError",
    "InvalidModel",
    "InvalidOption",
    "InvalidState",
    "LabError",
    "LlamaError",
    "MissingDependency",
    "ModelNotFound",
    "NotEnoughMemory",
    "OutputExpired",
    "PatchError",
    "RpcError",
    "SessionBusy",
    "SessionClosed",
    "VendorError",
]


class LlamaError(Exception):
    """Base of all errors below. The message says what was given, what is allowed, what to do next."""


class InvalidOption(LlamaError, ValueError):
    """An argument has a value that is not allowed (range, name, type of text)."""


class ModelNotFound(LlamaError, FileNotFoundError):
    """The path of a model does not exist, or cannot be opened."""


class InvalidModel(LlamaError, ValueError):
    """A file is not a usable GGUF model: empty, cut short, wrong magic, tensors outside the file."""


class InvalidState(LlamaError, ValueError):
    """Bytes or a file are no state of a context: damaged, or of another model or kind of context."""


class EngineError(LlamaError, RuntimeError):
    """An engine cannot be loaded, or another one already runs in this process."""


class EngineNotFound(EngineError, LookupError):
    """No engine of that name was built into this installation."""


class BackendError(EngineError):
    """A backend cannot be loaded: it is damaged, foreign, of another llama.cpp, or lacks a library or a driver."""


class BackendNotFound(BackendError, LookupError):
    """No backend of that name is installed."""


class NotEnoughMemory(LlamaError, MemoryError):
    """The request needs more memory than the machine has free."""


class ContextFull(LlamaError, ValueError):
    """The tokens do not fit into the context (``n_ctx``)."""


class DecodeFailed(LlamaError, RuntimeError):
    """llama.cpp could not evaluate a batch. The session's memory is as it was before the call."""


class Cancelled(LlamaError, RuntimeError):
    """``Session.cancel()`` was called during the call. The session's memory is as it was before."""


class ChatTemplateError(LlamaError, ValueError):
    """A model's chat template cannot be read, fails, or refuses the messages."""


class RpcError(LlamaError, ConnectionError):
    """An RPC server cannot be reached, or is lost: then the models and sessions that used it are gone too."""


class SessionBusy(LlamaError, RuntimeError):
    """Another thread is using this session; a session serves one thread at a time."""


class SessionClosed(LlamaError, ValueError):
    """The object was closed."""


class ForkedProcess(LlamaError, RuntimeError):
    """The object was made before ``fork``: its threads do not exist in this process."""


class OutputExpired(LlamaError, RuntimeError):
    """Logits or embeddings are read that the context has since overwritten or given up."""


class MissingDependency(LlamaError, ImportError):
    """An optional package is not installed; the message has the install command."""


class PatchError(LlamaError, RuntimeError):
    """A patch does not apply, or its header or the series is not in order."""


class VendorError(LlamaError, RuntimeError):
    """The pinned upstream tree cannot be delivered or does not match its digest."""


class BuildError(LlamaError, RuntimeError):
    """This installation is incomplete or was built otherwise than asked for."""


class HubError(LlamaError, OSError):
    """A model cannot be fetched, or what arrived does not match its digest."""


class LabError(LlamaError, RuntimeError):
    """An experiment cannot be run as asked."""
