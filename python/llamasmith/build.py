"""What this installation is: the pin, the patches, the engines, the compiler; recorded when it was built."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .errors import BuildError

__all__ = ["BuildInfo", "Patch", "build_info", "package_root"]

_RECORD = "build.json"
_HOW = (
    "The compiled part of llamasmith is missing: this is a source tree, or an installation that did not finish. "
    "Install it with `pip install .` from the project's folder, and run Python from another one."
)


@dataclass(frozen=True)
class Patch:
    """One patch that the engine `patched` was built with."""

    name: str
    subject: str
    scope: str
    origin: str
    """``series`` for ours, ``extra`` for the user's."""
    sha256: str


@dataclass(frozen=True)
class BuildInfo:
    """How this installation was built. `requested` holds the options that differ from the defaults."""

    version: str
    pin: str
    tree_digest: str
    series_digest: str
    patches: tuple[Patch, ...]
    skipped: tuple[str, ...]
    engines: tuple[str, ...]
    left_out: dict[str, str]
    backends: tuple[str, ...]
    cpu: str
    cpu_flags: tuple[str, ...]
    compiler: dict[str, str]
    requested: dict[str, str]
    tools: tuple[str, ...]
    backends_built: dict[str, dict[str, str]] = field(default_factory=dict)
    """What each backend besides ``cpu`` in this package was built with."""
    abi: str = ""
    """Digest of the headers that a backend must have been compiled with to be loaded."""

    def asdict(self) -> dict[str, Any]:
        """All fields as plain JSON-ready values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def package_root() -> Path:
    """The folder that holds the installed libraries and engines.

    An editable installation keeps them apart from the Python sources: they lie beside the extension.
    """
    here = Path(__file__).resolve().parent
    if (here / _RECORD).is_file():
        return here
    from importlib.util import find_spec

    try:
        spec = find_spec("llamasmith._core")
    except ImportError:
        spec = None
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).resolve().parent
    raise BuildError(_HOW)


@lru_cache(maxsize=1)
def build_info() -> BuildInfo:
    """The record of this build. Raises BuildError if there is none."""
    file = package_root() / _RECORD
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        installed = version("llamasmith")
    except (OSError, ValueError) as error:
        raise BuildError(f"{_HOW} ({error})") from error
    except PackageNotFoundError as error:
        raise BuildError(_HOW) from error
    return BuildInfo(
        version=installed,
        pin=record["pin"],
        tree_digest=record["tree_digest"],
        series_digest=record["series_digest"],
        patches=tuple(Patch(p["name"], p["subject"], p["scope"], p["origin"], p["sha256"]) for p in record["patches"]),
        skipped=tuple(record["skipped"]),
        engines=tuple(record["engines"]),
        left_out=record["left_out"],
        backends=tuple(record["backends"]),
        cpu=record["cpu"],
        cpu_flags=tuple(record["cpu_flags"]),
        compiler=record["compiler"],
        requested=record["requested"],
        tools=tuple(record["tools"]),
        backends_built=record["backends_built"],
        abi=record["abi"],
    )
