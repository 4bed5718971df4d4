"""Backends besides the engine: which are installed, and which this process has loaded."""

from __future__ import annotations

import os
import threading
import warnings
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ._native import _core
from .backend_files import KINDS, BackendFiles, installed_backends
from .errors import BackendError, BackendNotFound, InvalidOption

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "Backend",
    "Device",
    "backends",
    "devices",
    "load_backend",
    "load_usable",
    "loaded_backends",
    "wanted_backends",
]

VARIABLE = "LLAMASMITH_BACKENDS"


@dataclass(frozen=True)
class Device:
    """Something that computes. Memory in bytes; 0 for a device without memory of its own."""

    name: str
    description: str
    type: str
    """``cpu``, ``gpu``, ``igpu``, ``accel`` or ``meta``."""
    memory_free: int
    memory_total: int
    backend: str = ""
    """What it belongs to, as llama.cpp calls it: ``CPU``, ``CUDA``, ..."""
    id: str = ""
    """Its address on the bus, of a GPU."""
    buffer_types: tuple[str, ...] = ()
    """Kinds of memory, for `Model(placement=)`; the first one is where weights go by default."""


@dataclass(frozen=True)
class Backend:
    """One installed backend. `devices` is known once it is loaded."""

    name: str
    path: Path
    origin: str
    """``llamasmith``, or the distribution that brought it."""
    version: str
    built: dict[str, str]
    """What it was built with."""
    problem: str
    """Why it may not be loaded; empty if it may."""
    devices: tuple[Device, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether it may be loaded. That it can be, only loading tells: a library or a driver may be missing."""
        return not self.problem


_loaded: dict[str, Backend] = {}
_warned: set[str] = set()
_lock = threading.RLock()


def _public(files: BackendFiles) -> Backend:
    version = str(files.facts.get("version", ""))
    return Backend(files.name, files.path, files.origin, version, files.built, files.problem)


def backends() -> tuple[Backend, ...]:
    """The backends that are installed, in this package and in wheels of their own. Loads none of them."""
    return tuple(_loaded.get(files.name) or _public(files) for files in installed_backends())


def loaded_backends() -> tuple[Backend, ...]:
    """The backends that this process has loaded, with their devices."""
    return tuple(_loaded.values())


def devices() -> tuple[Device, ...]:
    """All devices of this process: the engine's, and those of the backends that are loaded."""
    return tuple(Device(**facts) for facts in _core.devices())


def load_backend(name: str) -> Backend:
    """Loads a backend into this process, where it stays until the process ends.

    Args:
        name: one of `backends()`: ``openblas``, ``cuda`` or ``rpc``.

    It is loaded from its place in the installation, by its absolute path: neither the current folder nor
    ``LD_LIBRARY_PATH`` is searched for it. Sessions and models made before do not use it. Raises BackendNotFound if it
    is not installed, BackendError if it may not be loaded or cannot be.
    """
    with _lock:
        if name in _loaded:
            return _loaded[name]
        return _load(_find(name, installed_backends()))


def _find(name: str, installed: Sequence[BackendFiles]) -> BackendFiles:
    found = [files for files in installed if files.name == name]
    if found:
        return next((files for files in found if not files.problem), found[0])
    if not isinstance(name, str) or name not in KINDS:
        close = get_close_matches(name, KINDS, n=1) if isinstance(name, str) else []
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise BackendNotFound(f"No backend is named {name!r}.{hint} Allowed: {', '.join(KINDS)}.")
    here = ", ".join(files.name for files in installed) or "none"
    raise BackendNotFound(
        f"The backend {name!r} is not installed. Installed: {here}. "
        f"It is built with: pip install . -C cmake.define.LLAMASMITH_BACKENDS='cpu;{name}'"
    )


def _load(files: BackendFiles) -> Backend:
    if files.problem:
        raise BackendError(f"The backend {files.name} is not loaded: {files.problem}")
    try:
        facts: Any = _core.load_backend(str(files.path))
    except BackendError as error:
        raise BackendError(files.why_not_loaded(str(error))) from None
    found = tuple(Device(**device) for device in facts["devices"])
    backend = replace(_public(files), devices=found)
    _loaded[files.name] = backend
    return backend


def wanted_backends(names: Sequence[str] | None = None) -> list[str] | None:
    """The backends that `names`, or else the environment, asks for; None: all that are usable. Loads none of them.

    Raises InvalidOption for a bad ``LLAMASMITH_BACKENDS``.
    """
    if names is not None:
        return [name for name in ([names] if isinstance(names, str) else names) if name != "cpu"]
    said = os.environ.get(VARIABLE)
    if said is None:
        return None
    words = [word.strip() for word in said.replace(";", ",").split(",") if word.strip()]
    allowed = ("none", "cpu", *KINDS)
    for word in words:
        if word not in allowed:
            raise InvalidOption(f"{VARIABLE} names {word!r}. Allowed: {', '.join(allowed)}, with commas between them.")
    if "none" in words and len(words) > 1:
        raise InvalidOption(f"{VARIABLE} is {said!r}. Allowed: none alone, or names of backends.")
    return [word for word in dict.fromkeys(words) if word not in ("none", "cpu")]


def load_usable(names: Sequence[str] | None = None) -> tuple[Backend, ...]:
    """Loads backends, as `load_engine()` does after the engine.

    Args:
        names: by default what the environment's ``LLAMASMITH_BACKENDS`` names, else all that are installed.

    One that was named and does not load is an error: BackendNotFound, BackendError. One that was not is left out, with
    a warning the first time.
    """
    wanted = wanted_backends(names)
    with _lock:
        if wanted is not None:
            return tuple(load_backend(name) for name in wanted)
        for files in installed_backends():
            if files.name not in _loaded:
                _try(files)
        return loaded_backends()


def _try(files: BackendFiles) -> None:
    try:
        _load(files)
    except BackendError as error:
        if str(files.path) not in _warned:
            _warned.add(str(files.path))
            hint = f"Without it: {VARIABLE}=none. More: llamasmith doctor"
            warnings.warn(f"{error} {hint}", RuntimeWarning, stacklevel=4)
