"""The compiled engines: which there are, and which one this process runs."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

from ._native import _core
from .backends import load_usable, wanted_backends
from .build import build_info, package_root
from .errors import EngineError, EngineNotFound, InvalidOption
from .variants import best, choose, explain, read_variants, refuse_without_variants

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .variants import Variant

__all__ = ["DEFAULT_ENGINE", "Engine", "engines", "load_engine", "loaded_engine"]

DEFAULT_ENGINE = "patched"

_DESCRIPTIONS = {
    "patched": "our patch series, own thread pool, wait policy chosen at run time",
    "upstream": "pristine llama.cpp, own thread pool",
    "upstream-openmp": "pristine llama.cpp, OpenMP: what it builds by default",
    "patched-openmp": "our patch series, OpenMP: no wait policies; built on request",
}


@dataclass(frozen=True)
class Engine:
    """One compiled ggml CPU backend. `features` is known once it is loaded.

    An engine of a build for all CPUs (``LLAMASMITH_CPU=dispatch``) has variants, from the least to the best: `variant`
    is the one that runs here, `path` its module, and `variant_reason` says why this one. A single module has none.
    """

    name: str
    path: Path
    description: str
    openmp: bool
    features: tuple[str, ...] = ()
    chooses_wait: bool = False
    variant: str | None = None
    variants: tuple[str, ...] = ()
    variant_reason: str = ""


_loaded: Engine | None = None
_lock = threading.Lock()


def engines() -> tuple[Engine, ...]:
    """The engines of this installation, the default one first. Loads none of them."""
    return tuple(_describe(name) for name in build_info().engines)


def _describe(name: str) -> Engine:
    folder = package_root() / "engines" / name
    variants, _ = read_variants(folder)
    path = folder / "libggml-cpu.so"
    variant: Variant | None = None
    if variants:
        variant = best(variants, _core.cpu_features(_core.cpu_facts()))
        path = (variant or variants[0]).path
    return Engine(
        name,
        path,
        _DESCRIPTIONS.get(name, ""),
        "openmp" in name,
        variant=variant.name if variant else None,
        variants=tuple(each.name for each in variants),
    )


def _choose_variant(engine: Engine) -> Engine:
    """The engine with the variant that is to be loaded: by the environment's word, else the best."""
    variants, left_out = read_variants(engine.path.parent)
    if not variants:
        refuse_without_variants(engine.name)
        return engine
    choice = choose(variants, _core.cpu_features(_core.cpu_facts()), os.environ)
    return replace(
        engine,
        path=choice.variant.path,
        variant=choice.variant.name,
        variant_reason=explain(choice, variants, left_out),
    )


def _find(name: str) -> Engine:
    built = {engine.name: engine for engine in engines()}
    if name in built:
        return built[name]
    close = get_close_matches(name, built, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise EngineNotFound(
        f"No engine named {name!r}.{hint} This installation has: {', '.join(built)}. "
        f"Others are built with: pip install . -C cmake.define.LLAMASMITH_ENGINES=..."
    )


def _check_environment() -> None:
    # The engine itself cannot complain: it reads the variable when a pool is made, deep inside native code.
    wait = os.environ.get("LLAMASMITH_WAIT")
    policies = _core.wait_policies()
    if wait is not None and wait not in policies:
        raise InvalidOption(f"LLAMASMITH_WAIT is {wait!r}. Allowed: {', '.join(policies)}.")


def load_engine(name: str | None = None, *, backends: Sequence[str] | None = None) -> Engine:
    """Loads an engine into this process, where it stays until the process ends, and backends beside it.

    Args:
        name: one of `engines()`; by default the environment's ``LLAMASMITH_ENGINE``, else ``patched``.
        backends: names of backends to load as well, such as ``openblas``; ``()`` for none. By default those that the
            environment's ``LLAMASMITH_BACKENDS`` names, else all that are installed: one that does not load is left out
            with a warning then, and is an error if it was named (BackendError).

    Loading the same engine again does nothing, but for backends that are named. Raises EngineNotFound for a name that
    was not built, EngineError if another engine already runs here (one process runs one engine) or no variant of it can
    run on this CPU, InvalidOption for a bad ``LLAMASMITH_WAIT``, ``LLAMASMITH_CPU_VARIANT`` or ``LLAMASMITH_BACKENDS``.
    """
    global _loaded
    with _lock:
        if name is None:
            if _loaded is not None:
                return _with_backends(_loaded, backends)
            name = os.environ.get("LLAMASMITH_ENGINE") or DEFAULT_ENGINE
            if name == DEFAULT_ENGINE and name not in build_info().engines:
                name = build_info().engines[0]  # built without it: the first one is what the user asked for
        engine = _find(name)
        if _loaded is not None:
            if _loaded.name == engine.name:
                return _with_backends(_loaded, backends)
            raise EngineError(
                f"This process already runs the engine {_loaded.name!r}, so {name!r} cannot be loaded: a process runs "
                f"one engine. Call load_engine({name!r}) before anything else, or use another process."
            )
        _check_environment()
        wanted_backends(backends)  # a bad LLAMASMITH_BACKENDS is told before anything is loaded
        engine = _choose_variant(engine)
        facts = _core.load_engine(str(engine.path))
        _loaded = replace(
            engine, openmp=facts["openmp"], features=facts["features"], chooses_wait=facts["chooses_wait"]
        )
        load_usable(backends)
        return _loaded


def _with_backends(engine: Engine, backends: Sequence[str] | None) -> Engine:
    """The engine, with more backends, if they are named."""
    if backends is not None:
        load_usable(backends)
    return engine


def loaded_engine() -> Engine | None:
    """The engine that this process runs, if any."""
    return _loaded
