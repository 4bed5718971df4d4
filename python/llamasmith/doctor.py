"""What this installation is, what of it runs on this machine, and what is wrong: facts, without printing.

Nothing compiled is loaded here. Each engine is tried in a process of its own, since one process runs one engine, and
since an engine built for another CPU does not raise: it kills its process.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .backend_trials import BackendState, try_backends, wrong_environment, wrong_states
from .build import BuildInfo, build_info, package_root
from .errors import BuildError
from .huge_pages import VARIABLE as HUGE_PAGES
from .huge_pages import huge_pages
from .threads import Budget, thread_budget
from .trial import try_in_a_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["BackendState", "Diagnosis", "EngineState", "Finding", "Trial", "examine", "try_engine"]

TIMEOUT_SECONDS = 60
DEFAULT_ENGINE = "patched"  # as in .engine, which cannot be imported here: it loads compiled code

# They change how many threads the OpenMP engine or a BLAS has, or how these wait, behind the back of our own settings.
_RUNTIME_PREFIXES = ("OMP_", "GOMP_", "KMP_", "OPENBLAS_", "MKL_", "BLIS_")

_OURS = ("LLAMASMITH_WAIT", "LLAMASMITH_ENGINE", "LLAMASMITH_BACKENDS")

_REBUILD = "Build it anew on this machine, from the project's folder: pip install --force-reinstall ."
_CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
try:
    import llamasmith
    from llamasmith._native import _core
    waits = _core.wait_policies()
    engine = llamasmith.load_engine(sys.argv[1], backends=())
    found = {"path": str(engine.path), "features": engine.features, "waits": waits, "chooses_wait": engine.chooses_wait}
    found |= {"variant": engine.variant or "", "variants": engine.variants, "variant_reason": engine.variant_reason}
except Exception as error:
    found = {"error": f"{type(error).__name__}: {error}"}
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Finding:
    """Something to know, and what to do about it."""

    what: str
    mend: str


@dataclass(frozen=True)
class Trial:
    """What came of loading an engine in a process of its own."""

    path: str = ""
    features: tuple[str, ...] = ()
    waits: tuple[str, ...] = ()
    """Wait policies that the environment's ``LLAMASMITH_WAIT`` may name."""
    chooses_wait: bool = False
    variant: str = ""
    """The variant that was loaded; empty if the engine is a single module."""
    variants: tuple[str, ...] = ()
    variant_reason: str = ""
    error: str = ""
    """Empty if it was loaded."""


@dataclass(frozen=True)
class EngineState:
    """One engine of this installation."""

    name: str
    path: str
    features: tuple[str, ...]
    """CPU features and kernels that it uses, as ggml names them."""
    loadable: bool
    error: str
    variant: str = ""
    """Of a build for all CPUs, the variant that runs here; empty for a single module."""
    variants: tuple[str, ...] = ()
    """All that were built, from the least to the best."""
    variant_reason: str = ""
    """Why this variant, and what keeps the next better one from running."""


@dataclass(frozen=True)
class Diagnosis:
    """Everything that ``llamasmith doctor`` says. Empty texts: not known, for want of a finished build."""

    version: str
    pin: str
    """The commit of llama.cpp."""
    series_digest: str
    patches: tuple[str, ...]
    cpu: str
    """What it was built for: ``native`` (the machine it was built on), ``baseline`` or ``dispatch``."""
    requested: Mapping[str, str]
    """Options of the build that differ from the defaults."""
    engines: tuple[EngineState, ...]
    active: str | None
    """The engine that runs unless another is asked for by name."""
    backends: tuple[str, ...]
    tools: tuple[str, ...]
    threads: Budget
    problems: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    backend_states: tuple[BackendState, ...] = ()
    """Each backend besides ``cpu`` that is installed, tried."""
    huge_pages: str | None = None
    """To whom Linux gives huge pages: ``always``, ``madvise`` or ``never``; None if it does not say."""
    build: Mapping[str, Any] = field(default_factory=dict)
    """All that `build_info()` knows: compiler and flags, each patch with its digest. Empty without a finished build."""

    @property
    def ok(self) -> bool:
        """Whether what was asked for is what runs."""
        return not self.problems

    def asdict(self) -> dict[str, Any]:
        """All fields as plain JSON-ready values."""
        return asdict(self)


def try_engine(name: str, environment: Mapping[str, str]) -> Trial:
    """Loads an engine in a process of its own."""
    # Bad values of ours are findings of their own, not the engine's failure.
    kept = {key: value for key, value in environment.items() if key not in _OURS}
    found = try_in_a_process(_CHILD, name, environment=kept, timeout=TIMEOUT_SECONDS)
    found |= {key: tuple(found[key]) for key in ("features", "waits", "variants") if key in found}
    return Trial(**found)


def examine(
    *,
    environment: Mapping[str, str] | None = None,
    progress: Callable[[str], None] | None = None,
    trial: Callable[[str, Mapping[str, str]], Trial] = try_engine,
    backends: Callable[..., tuple[BackendState, ...]] = try_backends,
    root: Path = Path("/"),
) -> Diagnosis:
    """Looks at this installation and at this machine; takes about a second for each engine.

    Args:
        environment: the variables to judge by; by default those of this process.
        progress: called with the name of each engine and backend before it is tried.
        trial: how an engine is tried.
        backends: how the backends are tried.
        root: where /proc and /sys are.
    """
    environment = os.environ if environment is None else environment
    threads = thread_budget(root)
    try:
        info = build_info()
    except BuildError as error:
        return _unbuilt(error, threads)
    trials = {}
    for name in info.engines:
        if progress is not None:
            progress(name)
        trials[name] = trial(name, environment)
    states = tuple(
        EngineState(
            name,
            found.path or _expected_path(name),
            found.features,
            not found.error,
            found.error,
            found.variant,
            found.variants,
            found.variant_reason,
        )
        for name, found in trials.items()
    )
    others = backends(environment, progress=progress)
    active = environment.get("LLAMASMITH_ENGINE") or next(
        (name for name in info.engines if name == DEFAULT_ENGINE), next(iter(info.engines), None)
    )
    problems = [
        *_not_as_asked(info),
        *_foreign_cpu(info, root),
        *_not_loadable(states, info),
        *_bad_environment(environment, info, trials),
        *(Finding(wrong.what, wrong.mend) for wrong in wrong_states(others)),
        *(Finding(wrong.what, wrong.mend) for wrong in wrong_environment(environment, others)),
    ]
    return Diagnosis(
        version=info.version,
        pin=info.pin,
        series_digest=info.series_digest,
        patches=tuple(patch.name for patch in info.patches),
        cpu=info.cpu,
        requested=dict(info.requested),
        engines=states,
        active=active if active in info.engines else None,
        backends=info.backends,
        tools=info.tools,
        threads=threads,
        problems=tuple(problems),
        notes=(*_notes(environment, info, trials.get(active or ""), threads), *_small_pages(environment, root)),
        backend_states=others,
        huge_pages=huge_pages(root),
        build=info.asdict(),
    )


def _unbuilt(error: BuildError, threads: Budget) -> Diagnosis:
    folder = Path(__file__).resolve().parent
    what = f"There is no finished build beside {folder}: {error}"
    if (folder.parent.parent / "CMakeLists.txt").is_file():
        what = f"llamasmith is imported from a source tree, {folder}, which has no compiled part."
    mend = "Install it with `pip install .` from the project's folder, then run it from another folder."
    try:
        installed = version("llamasmith")
    except PackageNotFoundError:
        installed = ""
    nothing: tuple[str, ...] = ()
    problems = (Finding(what, mend),)
    return Diagnosis(installed, "", "", nothing, "", {}, (), None, nothing, nothing, threads, problems, ())


def _expected_path(name: str) -> str:
    return str(package_root() / "engines" / name)


def _not_as_asked(info: BuildInfo) -> Iterator[Finding]:
    for option, kind, built in (
        ("LLAMASMITH_ENGINES", "engine", info.engines),
        ("LLAMASMITH_BACKENDS", "backend", info.backends),
    ):
        asked = [name for name in info.requested.get(option, "").split(";") if name]
        for name in asked:
            if name not in built:
                why = info.left_out.get(name, "")
                yield Finding(
                    f"The build was asked for the {kind} {name}, but it is not there{': ' + why if why else '.'}",
                    f"Build again and read what it says: pip install -v . -C 'cmake.define.{option}={';'.join(asked)}'",
                )


def _foreign_cpu(info: BuildInfo, root: Path) -> Iterator[Finding]:
    try:
        text = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    lines = (line.partition(":") for line in text.splitlines())
    has = {flag for key, _, flags in lines if key.strip() in ("flags", "Features") for flag in flags.split()}
    lacking = [flag for flag in info.cpu_flags if flag not in has]
    if has and lacking:
        yield Finding(
            f"It was built for a CPU with {', '.join(lacking)}, which this one does not have: it may end with SIGILL.",
            f"{_REBUILD} (for many machines: -C cmake.define.LLAMASMITH_CPU=dispatch)",
        )


def _not_loadable(states: tuple[EngineState, ...], info: BuildInfo) -> Iterator[Finding]:
    for state in states:
        if not state.loadable:
            mend = _REBUILD
            if "LLAMASMITH_CPU_VARIANT" in state.error:
                mend = "Unset it, or name a variant that this machine runs: unset LLAMASMITH_CPU_VARIANT"
            yield Finding(f"The engine {state.name} cannot be loaded: {state.error}", mend)
    if not info.engines:
        yield Finding("It was built without any engine.", _REBUILD)


def _bad_environment(environment: Mapping[str, str], info: BuildInfo, trials: Mapping[str, Trial]) -> Iterator[Finding]:
    engine = environment.get("LLAMASMITH_ENGINE")
    if engine and engine not in info.engines:
        yield Finding(
            f"LLAMASMITH_ENGINE is {engine!r}, which was not built.",
            f"Unset it, or set it to one of: {', '.join(info.engines)}.",
        )
    wait = environment.get("LLAMASMITH_WAIT")
    waits = next((found.waits for found in trials.values() if found.waits), ())
    if wait is not None and waits and wait not in waits:
        yield Finding(f"LLAMASMITH_WAIT is {wait!r}.", f"Unset it, or set it to one of: {', '.join(waits)}.")


def _notes(environment: Mapping[str, str], info: BuildInfo, active: Trial | None, threads: Budget) -> Iterator[Finding]:
    asked = info.requested.get("LLAMASMITH_ENGINES", "").split(";")
    for name, why in info.left_out.items():
        if name not in asked:
            yield Finding(f"The engine {name} was left out: {why}", "Nothing to do, unless you want it.")
    if environment.get("LLAMASMITH_WAIT") and active is not None and not active.error and not active.chooses_wait:
        yield Finding(
            "LLAMASMITH_WAIT is set, but the active engine waits in its one own way.", "Use the engine `patched`."
        )
    for name, value in sorted(environment.items()):
        if name.startswith(_RUNTIME_PREFIXES):
            yield Finding(
                f"{name}={value} is set: an OpenMP or BLAS runtime may heed it, and wait or count threads otherwise.",
                f"Unset it, unless you mean it: unset {name}",
            )
    if threads.quota is not None and threads.quota < len(threads.cpus):
        yield Finding(
            f"A cgroup quota of {threads.quota:.4g} CPUs holds this process below its {len(threads.cpus)} cores.",
            f"Keep to {threads.budget} threads, which is the default: more are stopped in the middle of their work.",
        )


def _small_pages(environment: Mapping[str, str], root: Path) -> Iterator[Finding]:
    asked = environment.get(HUGE_PAGES, "1")
    if asked == "0":
        yield Finding(
            f"{HUGE_PAGES}=0 is set: weights lie in small pages, and tokens take some 6 % longer.",
            f"Unset it, unless you mean it: unset {HUGE_PAGES}",
        )
    elif asked != "1":
        yield Finding(f"{HUGE_PAGES} is {asked!r}, which means nothing.", "Unset it, or set it to 0 or 1.")
    elif huge_pages(root) == "never":
        yield Finding(
            "Linux gives no huge pages (transparent_hugepage/enabled is never): tokens take some 6 % longer.",
            "As root: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        )
