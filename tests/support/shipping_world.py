"""The code behind ci/wheels.py for the tests, and wheels to try it on: the installed package, zipped, and changed."""

from __future__ import annotations

import dataclasses
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import llamasmith

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ci"))

from shipping.matrix import Row  # noqa: E402

VERSION = metadata.version("llamasmith")
INFO = f"llamasmith-{VERSION}.dist-info"


def row(**changes: object) -> Row:
    """A row that the installed package is right for."""
    info = llamasmith.build_info()
    own = Row(
        name="cpu",
        distribution="llamasmith",
        arch="x86_64",
        pythons=("3.11", "3.12"),
        backends=info.backends,
        policy="manylinux_2_28",
        max_mb=100,
        tests=("import",),
        cpu=info.cpu,
        engines=info.engines,
        exclude=("libgomp.so.1", "libscipy_openblas*"),  # the latter where openblas is built in
    )
    return dataclasses.replace(own, **changes)  # type: ignore[arg-type]


def installed_files() -> dict[str, bytes]:
    """What the installed wheel held, by its names there."""
    distribution = metadata.distribution("llamasmith")
    skip = ("INSTALLER", "REQUESTED", "direct_url.json")
    found = {}
    for file in distribution.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts and file.name not in skip:
            found[file.as_posix()] = Path(str(distribution.locate_file(file))).read_bytes()
    return found


def write_wheel(
    folder: Path,
    files: Mapping[str, bytes],
    *,
    python: str = "cp311-cp311",
    platform: str = "manylinux_2_28_x86_64",
    version: str = VERSION,
    name: str = "llamasmith",
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{python}-{platform}.whl"
    with zipfile.ZipFile(path, "w") as file:
        for inner, data in files.items():
            file.writestr(zipfile.ZipInfo(inner, (2022, 1, 1, 0, 0, 0)), data)
    return path
