"""The backends that are installed, and whether each may be loaded: files and facts. Loads nothing compiled.

A backend is a folder with a library ``libggml-*.so`` and its ``backend.json``: in this package, at
``backends/<name>/``, or a package of its own that a wheel brings and names in the entry point group
``llamasmith.backends``.
"""

from __future__ import annotations

import json
import stat
from collections import Counter
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .build import BuildInfo, build_info, package_root
from .elf import elf_problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["ENTRY_POINTS", "KINDS", "BackendFiles", "Kind", "installed_backends", "usable_backends"]

ENTRY_POINTS = "llamasmith.backends"
_HEX = 12  # characters of a digest that tell two apart


@dataclass(frozen=True)
class Kind:
    """What is known of a backend by its name."""

    library: str
    description: str
    has_devices: bool = True
    """Whether it is of no use without a device that it finds on this machine."""


KINDS = {
    "openblas": Kind("libggml-blas.so", "matrix products by OpenBLAS"),
    "cuda": Kind("libggml-cuda.so", "NVIDIA GPUs, by CUDA and cuBLAS"),
    "rpc": Kind("libggml-rpc.so", "devices of other machines", has_devices=False),
}


@dataclass(frozen=True)
class BackendFiles:
    """An installed backend. `problem` tells why it may not be loaded; it is empty if it may."""

    name: str
    path: Path
    """The library."""
    origin: str
    """``llamasmith`` for one that was built into this package, else the distribution that brought it."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Its backend.json: pin, version, abi, what it was built with, what it needs."""
    problem: str = ""

    @property
    def needs(self) -> dict[str, str]:
        """Libraries that other packages bring, and how to get each."""
        needs = self.facts.get("needs")
        return {str(name): str(how) for name, how in needs.items()} if isinstance(needs, dict) else {}

    @property
    def built(self) -> dict[str, str]:
        """What it was built with."""
        built = self.facts.get("built")
        return {str(key): str(value) for key, value in built.items()} if isinstance(built, dict) else {}

    def why_not_loaded(self, said: str) -> str:
        """The loader's message, with how to get the library that it misses."""
        how = next((how for name, how in self.needs.items() if f"{name}:" in said), "")
        said = said.replace(f"load_backend: failed to load {self.path}: ", "").rstrip(". ")  # the path comes before
        return f"{said}. Install it: {how}." if how else f"{said}."


def installed_backends(root: Path | None = None) -> tuple[BackendFiles, ...]:
    """All backends of this installation, those of the package first, each checked.

    Args:
        root: the folder of the package; by default of the one that runs.

    Raises BuildError if there is no finished build.
    """
    info = build_info()
    folder = (root or package_root()) / "backends"
    found = [_look(path.name, path, "llamasmith", info) for path in _subfolders(folder)]
    found += [_from_wheel(*named, info) for named in _named_by_wheels()]
    counts = Counter(one.name for one in found)
    twice = {name for name, count in counts.items() if count > 1}
    return tuple(_ambiguous(one, found) if one.name in twice and not one.problem else one for one in found)


def usable_backends(built: Iterable[str]) -> tuple[str, ...]:
    """Names of the backends that may be loaded here: those that were built in, and those of wheels of their own."""
    wheels = [files.name for files in installed_backends() if not files.problem]
    return tuple(dict.fromkeys([*built, *wheels]))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _named_by_wheels() -> Iterator[tuple[str, str, str]]:
    """Name, package and distribution of each entry point."""
    for point in entry_points(group=ENTRY_POINTS):
        yield point.name, point.value, point.dist.name if point.dist is not None else point.value


def _from_wheel(name: str, package: str, origin: str, info: BuildInfo) -> BackendFiles:
    try:
        spec = find_spec(package) if package.isidentifier() else None  # a top-level package: nothing is imported
    except (ImportError, ValueError):
        spec = None
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        path = Path(package) / _library(name)
        problem = f"the package {package!r}, which {origin} names, is not there. Install {origin} anew."
        return BackendFiles(name, path, origin, problem=problem)
    return _look(name, Path(next(iter(places))), origin, info)


def _library(name: str) -> str:
    return KINDS[name].library if name in KINDS else f"libggml-{name}.so"


def _ambiguous(one: BackendFiles, among: Iterable[BackendFiles]) -> BackendFiles:
    others = [other for other in among if other.name == one.name and other is not one]
    where = " and ".join(f"{other.path} ({other.origin})" for other in [one, *others])
    removable = next((other.origin for other in [one, *others] if other.origin != "llamasmith"), one.origin)
    return replace(one, problem=f"it is installed more than once: {where}. Remove one: pip uninstall {removable}")


def _look(name: str, folder: Path, origin: str, info: BuildInfo) -> BackendFiles:
    folder = folder.resolve()
    path = folder / _library(name)
    facts, problem = _read_facts(folder)
    problem = (
        _unknown(name)
        or _writable(folder, path)
        or problem
        or _missing(path)
        or _foreign(folder, path)
        or _other_build(name, facts, info, origin)
        or _not_elf(path)
    )
    return BackendFiles(name, path, origin, facts, problem)


def _unknown(name: str) -> str:
    return "" if name in KINDS else f"this version knows no backend of that name, only {', '.join(KINDS)}."


def _read_facts(folder: Path) -> tuple[dict[str, Any], str]:
    file = folder / "backend.json"
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        return {}, f"{file} cannot be read ({error.strerror}), so nobody knows what the backend fits to."
    except ValueError as error:
        return {}, f"{file} is damaged: {error}."
    wanted = ("name", "pin", "abi", "version")
    if not isinstance(facts, dict) or any(not isinstance(facts.get(key), str) for key in wanted):
        return {}, f"{file} is damaged: it must have the texts {', '.join(wanted)}."
    return facts, ""


def _writable(folder: Path, path: Path) -> str:
    """Who may write there decides what this process runs."""
    for place in (folder, path, folder / "backend.json"):
        try:
            mode = place.stat().st_mode
        except OSError:
            continue
        if mode & stat.S_IWOTH:
            return f"{place} can be written by every user of this machine. Take that right away: chmod o-w {place}"
    return ""


def _missing(path: Path) -> str:
    return "" if path.is_file() else f"{path} is missing. Install it anew."


def _foreign(folder: Path, path: Path) -> str:
    strangers = sorted(file.name for file in folder.iterdir() if ".so" in file.name and file != path)
    if not strangers:
        return ""
    return f"{folder} has libraries that do not belong there: {', '.join(strangers)}. Remove them, or install it anew."


def _other_build(name: str, facts: Mapping[str, Any], info: BuildInfo, origin: str) -> str:
    mend = "Build both from one version" if origin == "llamasmith" else f'pip install "{origin}=={info.version}"'
    if facts["name"] != name:
        return f"its backend.json is that of the backend {facts['name']!r}. Install it anew."
    if facts["pin"] != info.pin:
        return (
            f"it was built from another llama.cpp, {facts['pin'][:_HEX]} (version {facts['version']}); "
            f"this llamasmith {info.version} is built from {info.pin[:_HEX]}. {mend}"
        )
    if facts["abi"] != info.abi:
        return (
            f"it was built with other headers of ggml ({facts['abi'][:_HEX]}, here {info.abi[:_HEX]}): "
            f"a patch that one of the two was built without has changed them. {mend}"
        )
    return ""


def _not_elf(path: Path) -> str:
    problem = elf_problem(path)
    return f"{path} {problem}. Install it anew." if problem else ""
