"""What is installed: libraries that find each other and need nothing unusual, licences, stubs, a true record."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import llamasmith
from llamasmith.backend_files import installed_backends
from llamasmith.build import package_root

if TYPE_CHECKING:
    from collections.abc import Iterator

# What every Linux with glibc or musl has; the C library's own parts under their names of before 2.34 too.
SYSTEM = re.compile(
    r"(lib(c|m|pthread|dl|rt)\.so\.6|libpthread\.so\.0|lib(dl|rt)\.so\.[12]|libc\.musl-.*|ld-.*\.so\.\d)$"
)
COMPILER = re.compile(r"lib(stdc\+\+\.so\.6|gcc_s\.so\.1)$")
OPENMP = re.compile(r"lib(gomp|omp)\.so(\.\d+)?$")

ROOT = package_root()
BACKENDS = {f"backends/{one.name}/{one.path.name}": one for one in installed_backends() if one.origin == "llamasmith"}
LIBRARIES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.so*"))


@dataclass(frozen=True)
class Dynamic:
    """What a library says to the loader."""

    needed: tuple[str, ...]
    search: tuple[str, ...]
    soname: str


@pytest.fixture(scope="module")
def readelf() -> str:
    found = shutil.which("readelf")
    if found is None:
        pytest.skip("readelf is not there (Debian: apt-get install binutils)")
    return found


def dynamic_section(readelf: str, library: Path) -> Dynamic:
    text = subprocess.run([readelf, "-dW", library], capture_output=True, text=True, check=True).stdout
    assert "(RUNPATH)" not in text, "the loader would look into LD_LIBRARY_PATH before"
    entries = re.findall(r"\((NEEDED|RPATH|RUNPATH|SONAME)\).*\[(.*)\]", text)
    assert entries, text
    search = [part for kind, value in entries if kind in {"RPATH", "RUNPATH"} for part in value.split(":")]
    needed = tuple(value for kind, value in entries if kind == "NEEDED")
    return Dynamic(needed, tuple(search), next((value for kind, value in entries if kind == "SONAME"), ""))


def installed_files() -> Iterator[str]:
    """Everything that the installation wrote, compiled Python aside, relative to site-packages."""
    distribution = metadata.distribution("llamasmith")
    if json.loads(distribution.read_text("direct_url.json") or "{}").get("dir_info", {}).get("editable"):
        pytest.skip("an editable installation writes no files of its own")
    for file in distribution.files or ():
        if "__pycache__" not in file.parts:
            yield file.as_posix()


def test_the_libraries_are_the_ones_we_know() -> None:
    engines = {
        f"engines/{engine.name}/libggml-cpu{variant and '-'}{variant}.so"
        for engine in llamasmith.engines()
        for variant in engine.variants or ("",)
    }
    lib = {f"lib/{name}.so" for name in ("libggml-base", "libggml", "libllama")}
    extension = {name for name in LIBRARIES if re.fullmatch(r"_core\.[\w-]+\.so", name)}
    assert len(extension) == 1
    assert sorted(one.name for one in BACKENDS.values()) == sorted(set(llamasmith.build_info().backends) - {"cpu"})
    ours = {*engines, *lib, *extension, *BACKENDS}
    if llamasmith.build_info().tools:
        assert ours <= set(LIBRARIES)
    else:
        assert ours == set(LIBRARIES)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_finds_its_neighbours_and_needs_nothing_unusual(readelf: str, name: str) -> None:
    library = ROOT / name
    dynamic = dynamic_section(readelf, library)
    assert all(part.startswith("$ORIGIN") for part in dynamic.search), dynamic.search
    folders = [Path(part.replace("$ORIGIN", str(library.parent))).resolve() for part in dynamic.search]
    theirs_too = set(BACKENDS[name].needs) if name in BACKENDS else set()  # of other packages, beside ours
    assert folders[0] == ROOT / "lib", "a folder that is not ours may hold other libraries of these names"
    assert all(theirs_too and folder.is_relative_to(ROOT.parent) for folder in folders[1:]), folders

    theirs = [needed for needed in dynamic.needed if not (SYSTEM.match(needed) or COMPILER.match(needed))]
    openmp = [needed for needed in theirs if OPENMP.match(needed)]
    assert bool(openmp) == ("upstream-openmp" in name), dynamic.needed
    for neighbour in set(theirs) - set(openmp) - theirs_too:
        assert any((folder / neighbour).is_file() for folder in folders), f"{name} does not find {neighbour}"


@pytest.mark.parametrize("name", [name for name in LIBRARIES if not name.startswith("_core")])
def test_a_library_is_called_what_its_file_is_called(readelf: str, name: str) -> None:
    assert dynamic_section(readelf, ROOT / name).soname in {"", Path(name).name}


def symbols(readelf: str, library: Path) -> tuple[set[str], set[str]]:
    """The functions that a library offers, and those that it takes from others."""
    command = [readelf, "--dyn-syms", "-W", str(library)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^.* (UND|\d+) (\w+)\b.*$", text, re.MULTILINE)
    return {name for place, name in rows if place != "UND"}, {name for place, name in rows if place == "UND"}


@pytest.mark.parametrize("name", [name for name in LIBRARIES if name.startswith(("engines/", "backends/"))])
def test_an_engine_lacks_no_function(readelf: str, name: str) -> None:
    taken = {symbol for symbol in symbols(readelf, ROOT / name)[1] if re.match(r"(smith|ggml|gguf|llama)_", symbol)}
    assert len(taken) > 10
    assert taken <= symbols(readelf, ROOT / "lib" / "libggml-base.so")[0]


def test_licences_are_there() -> None:
    theirs = (ROOT / "licenses" / "llama.cpp.txt").read_text(encoding="utf-8")
    assert "MIT License" in theirs
    assert "ggml" in theirs
    (own,) = [
        path for path in metadata.files("llamasmith") or () if re.search(r"\.dist-info/.*LICENSE$", path.as_posix())
    ]
    assert "MIT License" in own.read_text(encoding="utf-8")
    assert metadata.metadata("llamasmith")["License-Expression"] == "MIT"


def test_nothing_of_upstreams_install_rules() -> None:
    foreign = re.compile(r"(^|/)(include|cmake|pkgconfig|share|bin)/|\.(h|hpp|c|cpp|cmake|pc|a|o)$")
    for path in ROOT.rglob("*"):
        assert not foreign.search(path.relative_to(ROOT).as_posix()), path
    places = {
        re.match(r"llamasmith/|llamasmith-[^/]*\.dist-info/|(\.\./)+bin/llamasmith$", file)
        for file in installed_files()
    }
    assert None not in places, sorted(installed_files())


def test_types_are_there() -> None:
    package = resources.files("llamasmith")
    assert package.joinpath("py.typed").is_file()
    assert "def load_engine(" in package.joinpath("_core.pyi").read_text(encoding="utf-8")


def test_what_the_lab_reads_is_there() -> None:
    """Not code, so that a build may forget it: the schema of records, the page of a report."""
    lab = resources.files("llamasmith.lab")
    assert json.loads(lab.joinpath("record.schema.json").read_text(encoding="utf-8"))["title"]
    for name in ("report.html.j2", "report.css"):
        assert lab.joinpath("report", name).read_text(encoding="utf-8")


def test_the_record_says_what_is_there() -> None:
    info = llamasmith.build_info()
    record = json.loads((ROOT / "build.json").read_text(encoding="utf-8"))
    told = info.asdict()
    assert told.pop("version") == metadata.version("llamasmith") == llamasmith.__version__
    for patch in record["patches"]:
        del patch["files"], patch["changed_lines"]
    assert record == told
    assert sorted(path.name for path in (ROOT / "engines").iterdir()) == sorted(info.engines)
    if "LLAMASMITH_ENGINES" not in info.requested and not info.left_out and info.cpu != "dispatch":
        assert info.engines == ("patched", "upstream", "upstream-openmp")
