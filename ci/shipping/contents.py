"""What may be in a wheel, and what must be: known files, licences, libraries that find what they need, true records."""

from __future__ import annotations

import io
import json
import re
import sysconfig
import zipfile
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from packaging.utils import parse_wheel_filename

from .matrix import ANY_PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .matrix import Row

# What every Linux with glibc has; libstdc++ and libgcc_s are in every policy of auditwheel.
SYSTEM = re.compile(r"(lib(c|m|pthread|dl|rt)\.so\.\d|ld-linux[-\w]*\.so\.\d|libstdc\+\+\.so\.6|libgcc_s\.so\.1)$")
NATIVE = (
    r"_core\.cpython-\d+-[\w-]+\.so",
    r"lib/lib(llama|ggml|ggml-base)\.so",
    r"engines/[\w-]+/(libggml-cpu(-[\w-]+)?\.so|variants\.json)",
    r"backends/\w+/(libggml-\w+\.so|backend\.json)",
    r"build\.json",
    r"licenses/[\w.-]+\.txt",
)
BACKEND = (r"__init__\.py", r"py\.typed", r"libggml-\w+\.so", r"backend\.json", r"licenses/[\w.-]+\.txt")
DIST_INFO = (r"METADATA", r"WHEEL", r"RECORD", r"entry_points\.txt", r"licenses/[\w./-]+", r"sboms/[\w.-]+\.cdx\.json")
# What is compiled in, by its name in the bill of materials, and the file with its licence.
LICENCES = {
    "llama.cpp": "llama.cpp.txt",
    "sgemm.cpp": "llamafile-sgemm.txt",
    "pybind11": "pybind11.txt",
    "nlohmann-json": "nlohmann-json.txt",
}
# A path of the machine that built, whichever that was: absolute, and to a source.
BUILD_PATH = re.compile(rb"(?<![\w.+/-])/(?:[\w.+-]+/)+[\w.+-]+\.(?:c|cc|cpp|cu|cuh|h|hpp)\b")
PYTHON_HEADERS = Path(sysconfig.get_path("include")).parent.as_posix().encode() + b"/"
SYSTEM_SOURCES = (b"/usr/include/", b"/usr/lib/", b"/usr/local/include/", b"/opt/rh/", PYTHON_HEADERS)


# What reading a file that is no sound wheel may raise.
UNREADABLE = (OSError, ValueError, KeyError, BadZipFile, ELFError)


@dataclass(frozen=True)
class Library:
    """What a shared library says to the loader."""

    needed: tuple[str, ...]
    search: tuple[str, ...]
    packed: tuple[slice, ...]
    """Where code for GPUs lies, which nvcc compresses: what reads like a path there is none."""


class Wheel:
    """A wheel, opened once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        name, self.version, _, self.tags = parse_wheel_filename(path.name)
        self.distribution = str(name)
        with zipfile.ZipFile(path) as file:
            self.files = {item.filename: file.read(item) for item in file.infolist() if not item.is_dir()}

    @property
    def megabytes(self) -> float:
        return self.path.stat().st_size / 1e6

    @property
    def dist_info(self) -> str:
        return f"{self.path.name.split('-')[0]}-{self.version}.dist-info"

    def _json(self, pattern: str) -> Any:
        found = [name for name in self.files if re.fullmatch(pattern, name)]
        return json.loads(self.files[found[0]]) if found else None

    @cached_property
    def bill(self) -> dict[str, Any] | None:
        """The bill of materials."""
        found: dict[str, Any] | None = self._json(rf"{re.escape(self.dist_info)}/sboms/{self.distribution}\.cdx\.json")
        return found

    @cached_property
    def record(self) -> dict[str, Any] | None:
        """build.json of the core, backend.json of a backend."""
        found: dict[str, Any] | None = self._json(r"llamasmith/build\.json|llamasmith_\w+/backend\.json")
        return found

    @cached_property
    def libraries(self) -> dict[str, Library]:
        return {name: read_library(data) for name, data in self.files.items() if data.startswith(b"\x7fELF")}


def read_library(data: bytes) -> Library:
    needed: list[str] = []
    search: list[str] = []
    packed: list[slice] = []
    for section in ELFFile(io.BytesIO(data)).iter_sections():
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags():
                if tag.entry.d_tag == "DT_NEEDED":
                    needed.append(getattr(tag, "needed"))  # noqa: B009 (pyelftools makes it by the tag's name)
                elif tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH"):
                    search += getattr(tag, tag.entry.d_tag[3:].lower()).split(":")
        elif section.name == ".nv_fatbin":
            packed.append(slice(section["sh_offset"], section["sh_offset"] + section["sh_size"]))
    return Library(tuple(needed), tuple(search), tuple(packed))


def problems(row: Row, wheel: Wheel, source: Path | None = None, machine_paths: tuple[str, ...] = ()) -> list[str]:
    """A sentence for each thing that is wrong with a wheel; none if it is what its row says.

    Args:
        source: the tree that it was built from; its Python files are then compared one by one.
        machine_paths: folders of this machine that no file of the wheel may mention.
    """
    return [
        *_name(row, wheel),
        *_files(row, wheel, source),
        *_linking(row, wheel),
        *_paths(wheel, machine_paths),
        *_licences(row, wheel),
        *_facts(row, wheel),
    ]


def _name(row: Row, wheel: Wheel) -> Iterator[str]:
    if wheel.distribution != row.distribution:
        yield f"it is {wheel.distribution}, and the row is for {row.distribution}"
    if wheel.megabytes > row.max_mb:
        yield f"it has {wheel.megabytes:.1f} MB; the row allows {row.max_mb:g}"
    interpreters = {tag.interpreter for tag in wheel.tags}
    allowed = {ANY_PYTHON} if row.pythons == (ANY_PYTHON,) else {f"cp{v.replace('.', '')}" for v in row.pythons}
    if not interpreters <= allowed:
        yield f"it is for {', '.join(sorted(interpreters))}; the row has {', '.join(sorted(allowed))}"
    for tag in wheel.tags:
        if not tag.platform.startswith("manylinux"):
            yield f"its platform is {tag.platform}: auditwheel has not repaired it"
        if row.arch != "any" and not tag.platform.endswith(f"_{row.arch}"):
            yield f"its platform is {tag.platform}; the row is for {row.arch}"


def _files(row: Row, wheel: Wheel, source: Path | None) -> Iterator[str]:
    package = row.distribution.replace("-", "_")
    ours: set[str] = set()
    for name in wheel.files:
        folder, _, inner = name.partition("/")
        if folder == wheel.dist_info:
            if not any(re.fullmatch(pattern, inner) for pattern in DIST_INFO):
                yield f"{name}: no file of this name belongs into the metadata"
        elif folder == f"{package}.libs":
            yield f"{name}: a library of the machine was copied in; exclude it, or link without it"
        elif folder != package:
            yield f"{name}: it lies outside of {package}/"
        elif row.core and not any(re.fullmatch(pattern, inner) for pattern in NATIVE):
            ours.add(inner)
        elif not row.core and not any(re.fullmatch(pattern, inner) for pattern in BACKEND):
            yield f"{name}: no file of this name belongs into a backend's wheel"
    if row.core and source is not None:
        root = source / "python" / package
        known = {
            p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts
        }
        yield from (f"{package}/{name}: it is not in the sources" for name in sorted(ours - known))
        yield from (f"{package}/{name}: it is in the sources, but not in the wheel" for name in sorted(known - ours))
    elif row.core:
        odd = [name for name in ours if not re.search(r"\.(pyi?|json|css|j2)$|^py\.typed$", name)]
        yield from (f"{package}/{name}: no file of this kind belongs into the wheel" for name in sorted(odd))


def _linking(row: Row, wheel: Wheel) -> Iterator[str]:
    if not wheel.libraries:
        yield "it holds no library"
    inside = {name.rpartition("/")[2] for name in wheel.libraries}
    for name, library in wheel.libraries.items():
        for part in library.search:
            if not part.startswith("$ORIGIN"):
                yield f"{name}: it looks for libraries in {part}, which may be anything elsewhere"
        for needed in library.needed:
            outside = any(fnmatch(needed, pattern) for pattern in row.exclude)
            if needed not in inside and not outside and not SYSTEM.match(needed):
                yield f"{name}: it needs {needed}, which is neither in the wheel, nor the system's, nor excluded"


def _paths(wheel: Wheel, machine_paths: tuple[str, ...]) -> Iterator[str]:
    for name, data in wheel.files.items():
        for path in machine_paths:
            if path.encode() in data:
                yield f"{name}: it mentions {path}, a folder of the machine that built it"
        if name in wheel.libraries:
            readable = bytearray(data)
            for part in wheel.libraries[name].packed:
                readable[part] = bytes(part.stop - part.start)
            for found in sorted({match[0] for match in BUILD_PATH.finditer(readable)}):
                if not found.startswith(SYSTEM_SOURCES):
                    yield f"{name}: it mentions {found.decode(errors='replace')}"
                    break


def _licences(row: Row, wheel: Wheel) -> Iterator[str]:
    package = row.distribution.replace("-", "_")
    there = {name.rpartition("/")[2] for name in wheel.files if re.match(rf"{package}/licenses/|[^/]+/licenses/", name)}
    if "LICENSE" not in there:
        yield f"{wheel.dist_info}/licenses/LICENSE is missing"
    components = {item["name"].rpartition("/")[2] for item in (wheel.bill or {}).get("components", ())}
    for component in sorted(components & LICENCES.keys()):
        if LICENCES[component] not in there:
            yield f"{component} is compiled in, but {package}/licenses/{LICENCES[component]} is missing"


def _facts(row: Row, wheel: Wheel) -> Iterator[str]:
    metadata = wheel.files.get(f"{wheel.dist_info}/METADATA", b"").decode("utf-8", "replace")
    if not re.search(rf"^Version: {re.escape(str(wheel.version))}$", metadata, re.MULTILINE):
        yield f"its metadata has another version than {wheel.version}"
    if wheel.bill is None:
        yield f"{wheel.dist_info}/sboms/{wheel.distribution}.cdx.json, the bill of materials, is missing"
    else:
        root = wheel.bill["metadata"]["component"]
        if (root["name"], root["version"]) != (wheel.distribution, str(wheel.version)):
            yield f"the bill of materials is that of {root['name']} {root['version']}"
    if wheel.record is None:
        yield "the record of the build is missing (build.json, or a backend's backend.json)"
    elif row.core:
        for key, wanted in (("cpu", row.cpu), ("engines", list(row.engines)), ("backends", list(row.backends))):
            if wheel.record.get(key) != wanted:
                yield f"build.json says {key} {wheel.record.get(key)!r}; the row says {wanted!r}"
