"""Finds experiments: the modules beside this one, and files of the user's."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import iter_modules

from ...errors import LabError
from .definition import Definition

__all__ = ["find", "load_all"]

_NO_EXPERIMENTS = ("definition", "registry")


def load_all() -> dict[str, Definition]:
    """All experiments that come with llamasmith, by name."""
    package = __name__.rpartition(".")[0]
    modules = [info.name for info in iter_modules([str(Path(__file__).parent)]) if info.name not in _NO_EXPERIMENTS]
    found = [import_module(f"{package}.{name}").EXPERIMENT for name in modules]
    return {definition.name: definition for definition in found}


def find(name: str) -> Definition:
    """The experiment of that name, or the one in the Python file `name`. Raises LabError."""
    if name.endswith(".py"):
        return _from_file(Path(name))
    known = load_all()
    if name not in known:
        close = get_close_matches(name, known, n=1)
        guess = f" Did you mean {close[0]!r}?" if close else ""
        raise LabError(f"No experiment is named {name!r}.{guess} Known: {', '.join(known)}; or a file NAME.py.")
    return known[name]


def _from_file(path: Path) -> Definition:
    if not path.is_file():
        raise LabError(f"The experiment {path} is not there. Give a Python file, or a name: {', '.join(load_all())}.")
    spec = spec_from_file_location("llamasmith_user_experiment", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        definition = module.EXPERIMENT
    except AttributeError:
        raise LabError(f"{path} defines no EXPERIMENT: assign a llamasmith.lab.experiments.Definition to it.") from None
    except Exception as error:
        raise LabError(f"{path} cannot be run: {type(error).__name__}: {error}.") from error
    if not isinstance(definition, Definition):
        raise LabError(f"EXPERIMENT in {path} is a {type(definition).__name__}, not a Definition.")
    return definition
