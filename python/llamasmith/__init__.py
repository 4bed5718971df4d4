"""llamasmith: llama.cpp built your way, bound to Python, measured on your machine.

Names are imported on first use, so that ``import llamasmith`` is quick, loads no engine, and works in
the build itself (``python -m llamasmith.patchset``), where the extension does not exist yet.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import errors
from .errors import LlamaError

if TYPE_CHECKING:
    from .backends import Backend, Device, devices, load_backend, loaded_backends
    from .batch_session import BatchSession
    from .build import BuildInfo, build_info
    from .embedding import Embedder, Reranker
    from .engine import Engine, engines, load_engine, loaded_engine
    from .fitting import Fit, fit
    from .generation import Generation, Timings
    from .grammar import json_schema_grammar
    from .model import Model
    from .pool import ThreadPool
    from .quantize import quantize
    from .scoring import Perplexity, perplexity
    from .session import Session
    from .speculation import ModelDraft, NgramDraft
    from .threads import Budget, thread_budget
    from .training import EpochResult, TrainingStep, finetune

_HOME = {
    "Backend": "backends",
    "Device": "backends",
    "devices": "backends",
    "load_backend": "backends",
    "loaded_backends": "backends",
    "BuildInfo": "build",
    "build_info": "build",
    "Engine": "engine",
    "engines": "engine",
    "load_engine": "engine",
    "loaded_engine": "engine",
    "Fit": "fitting",
    "fit": "fitting",
    "Model": "model",
    "quantize": "quantize",
    "BatchSession": "batch_session",
    "Embedder": "embedding",
    "Generation": "generation",
    "ModelDraft": "speculation",
    "NgramDraft": "speculation",
    "Perplexity": "scoring",
    "Reranker": "embedding",
    "Session": "session",
    "ThreadPool": "pool",
    "Timings": "generation",
    "json_schema_grammar": "grammar",
    "perplexity": "scoring",
    "Budget": "threads",
    "thread_budget": "threads",
    "EpochResult": "training",
    "TrainingStep": "training",
    "finetune": "training",
}

__all__ = [  # noqa: RUF022 (grouped by storey, as in the table above)
    "LlamaError",
    "errors",
    "BuildInfo",
    "build_info",
    "Engine",
    "engines",
    "load_engine",
    "loaded_engine",
    "Backend",
    "Device",
    "devices",
    "load_backend",
    "loaded_backends",
    "Model",
    "Fit",
    "fit",
    "quantize",
    "Generation",
    "Session",
    "NgramDraft",
    "ModelDraft",
    "BatchSession",
    "Embedder",
    "Reranker",
    "Perplexity",
    "perplexity",
    "json_schema_grammar",
    "ThreadPool",
    "Timings",
    "Budget",
    "thread_budget",
    "finetune",
    "EpochResult",
    "TrainingStep",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("llamasmith")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
