"""Which of the installed backends load on this machine, and why the others do not: a part of what `doctor` says.

Nothing compiled is loaded here: each backend is tried in a process of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .backend_files import KINDS, BackendFiles, installed_backends
from .cuda_driver import why_no_gpu
from .trial import try_in_a_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["BackendState", "Wrong", "try_backends", "wrong_environment", "wrong_states"]

TIMEOUT_SECONDS = 60

_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
try:
    from dataclasses import asdict
    from llamasmith.backends import load_backend
    backend = load_backend(sys.argv[1])
    found = {"devices": [asdict(device) for device in backend.devices]}
    if backend.name == "cuda" and not backend.devices:
        from llamasmith.cuda_driver import why_no_gpu
        found["error"] = why_no_gpu(backend.built.get("cuda", ""))
except Exception as error:
    found = {"error": str(error)}
print(json.dumps(found))
"""


@dataclass(frozen=True)
class BackendState:
    """One installed backend, tried."""

    name: str
    path: str
    origin: str
    """``llamasmith``, or the distribution that brought it."""
    version: str
    built: dict[str, str] = field(default_factory=dict)
    """What it was built with."""
    loadable: bool = True
    error: str = ""
    devices: tuple[dict[str, Any], ...] = ()
    """Name, description, type and memory of each."""


@dataclass(frozen=True)
class Wrong:
    """A problem in two sentences."""

    what: str
    mend: str


def _try(name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    kept = {key: value for key, value in environment.items() if not key.startswith("LLAMASMITH_")}
    return try_in_a_process(_CHILD, name, environment=kept, timeout=TIMEOUT_SECONDS)


def try_backends(
    environment: Mapping[str, str],
    *,
    progress: Callable[[str], None] | None = None,
    trial: Callable[[str, Mapping[str, str]], dict[str, Any]] = _try,
    installed: Callable[[], tuple[BackendFiles, ...]] = installed_backends,
) -> tuple[BackendState, ...]:
    """Loads each installed backend that may be loaded in a process of its own; about half a second for each."""
    states = []
    for files in installed():
        found: dict[str, Any] = {"error": files.problem}
        if not files.problem:
            if progress is not None:
                progress(files.name)
            found = trial(files.name, environment)
        states.append(_state(files, found))
    return tuple(states)


def _state(files: BackendFiles, found: Mapping[str, Any]) -> BackendState:
    devices = tuple(found.get("devices", ()))
    error = str(found.get("error", ""))
    kind = KINDS.get(files.name)
    if not error and not devices and kind is not None and kind.has_devices:
        error = f"it loads, but finds no device on this machine that it could use{_why(files)}"
    version = str(files.facts.get("version", ""))
    return BackendState(files.name, str(files.path), files.origin, version, files.built, not error, error, devices)


def _why(files: BackendFiles) -> str:
    return f": {why_no_gpu(files.built.get('cuda', ''))}" if files.name == "cuda" else ""


def wrong_states(states: tuple[BackendState, ...]) -> Iterator[Wrong]:
    """What does not load."""
    for state in states:
        if not state.loadable:
            yield Wrong(
                f"The backend {state.name} cannot be used: {state.error}",
                "Do as it says, or leave it out: LLAMASMITH_BACKENDS=none",
            )


def wrong_environment(environment: Mapping[str, str], states: tuple[BackendState, ...]) -> Iterator[Wrong]:
    """What the environment's LLAMASMITH_BACKENDS asks for in vain."""
    said = environment.get("LLAMASMITH_BACKENDS", "")
    installed = {state.name for state in states}
    for word in (word.strip() for word in said.replace(";", ",").split(",")):
        if not word or word in {"none", "cpu"} or word in installed:
            continue
        why = "is not installed" if word in KINDS else "does not exist"
        yield Wrong(
            f"LLAMASMITH_BACKENDS is {said!r}, and the backend {word} {why}.",
            f"Unset it, or set it to names among: none, {', '.join(['cpu', *sorted(installed)])}.",
        )
