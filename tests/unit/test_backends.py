"""Which installed backends are told, refused and loaded: made-up folders, and libraries of a few lines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import llamasmith
from llamasmith import backend_files, backends
from llamasmith.backend_files import KINDS, BackendFiles, installed_backends
from llamasmith.build import build_info, package_root
from llamasmith.errors import BackendError, BackendNotFound, EngineError, InvalidOption, LlamaError

if TYPE_CHECKING:
    from collections.abc import Callable

INFO = build_info()
SOUND = package_root() / "lib" / "libggml-base.so"  # any library for this machine


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "name": "openblas",
        "version": INFO.version,
        "pin": INFO.pin,
        "abi": INFO.abi,
        "needs": {"libscipy_openblas.so": "pip install scipy-openblas32"},
        "built": {"library": "OpenBLAS 1.2"},
        **changes,
    }


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package with the one backend openblas, which is sound, and no backend wheels."""
    monkeypatch.setattr(backend_files, "entry_points", lambda group: ())
    folder = tmp_path / "backends" / "openblas"
    folder.mkdir(parents=True)
    shutil.copy(SOUND, folder / "libggml-blas.so")
    (folder / "backend.json").write_text(json.dumps(facts()), encoding="utf-8")
    return tmp_path


def only(root: Path) -> BackendFiles:
    (found,) = installed_backends(root)
    return found


def test_a_sound_backend(root: Path) -> None:
    found = only(root)
    assert (found.name, found.origin, found.problem) == ("openblas", "llamasmith", "")
    assert found.path == root / "backends" / "openblas" / "libggml-blas.so"
    assert found.built == {"library": "OpenBLAS 1.2"}


def test_no_backends_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_files, "entry_points", lambda group: ())
    assert installed_backends(tmp_path) == ()


def write(folder: Path, **changes: Any) -> None:
    (folder / "backend.json").write_text(json.dumps(facts(**changes)), encoding="utf-8")


def cut(folder: Path) -> None:
    os.truncate(folder / "libggml-blas.so", 5000)


def add(folder: Path) -> None:
    shutil.copy(SOUND, folder / "libggml-vulkan.so")


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda folder: (folder / "backend.json").unlink(), "backend.json cannot be read"),
        (lambda folder: (folder / "backend.json").write_text("{"), "backend.json is damaged"),
        (lambda folder: (folder / "backend.json").write_text("[]"), "backend.json is damaged: it must have"),
        (lambda folder: write(folder, pin=7), "backend.json is damaged: it must have"),
        (lambda folder: write(folder, name="cuda"), "backend.json is that of the backend 'cuda'"),
        (
            lambda folder: write(folder, pin="f" * 40, version="9.9"),
            "another llama.cpp, ffffffffffff .version 9.9.; this",
        ),
        (lambda folder: write(folder, abi="0" * 64), "other headers of ggml"),
        (lambda folder: (folder / "libggml-blas.so").unlink(), "libggml-blas.so is missing"),
        (lambda folder: (folder / "libggml-blas.so").write_text("<html>"), "is not a shared library"),
        (cut, "is cut short"),
        (add, "do not belong there: libggml-vulkan.so"),
        (lambda folder: folder.chmod(0o777), "can be written by every user .*chmod o-w"),
        (lambda folder: (folder / "libggml-blas.so").chmod(0o666), "can be written by every user"),
        (lambda folder: (folder / "backend.json").chmod(0o646), "can be written by every user"),
        (lambda folder: folder.rename(folder.with_name("vulkan")), "knows no backend of that name, only openblas"),
    ],
)
def test_what_may_not_be_loaded(root: Path, harm: Callable[[Path], object], problem: str) -> None:
    harm(root / "backends" / "openblas")
    with pytest.raises(BackendError, match=problem):
        backends._load(only(root))


def from_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str, name: str = "openblas") -> Path:
    """Installs a backend wheel's package in a folder of its own, named by an entry point."""
    site = tmp_path / "site"
    site.mkdir()
    point = EntryPoint(name, package, "llamasmith.backends")
    monkeypatch.setattr(backend_files, "entry_points", lambda group: (point,))
    monkeypatch.syspath_prepend(site)
    return site / package


def test_a_wheels_backend_is_found_without_importing_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = from_wheel(monkeypatch, tmp_path, "smith_test_blas")
    (root / "backends" / "openblas").rename(package)
    (package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    found = only(root)
    assert (found.path, found.origin, found.problem) == (package / "libggml-blas.so", "smith_test_blas", "")
    assert "smith_test_blas" not in sys.modules


def test_two_backends_of_one_kind_are_both_refused(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = from_wheel(monkeypatch, tmp_path, "smith_test_blas")
    shutil.copytree(root / "backends" / "openblas", package)
    first, second = installed_backends(root)
    for one in (first, second):
        assert "installed more than once" in one.problem
        assert "pip uninstall smith_test_blas" in one.problem


@pytest.mark.parametrize("package", ["smith_test_absent", "a.b", "../x", ""])
def test_an_entry_point_that_leads_nowhere(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    shutil.rmtree(root / "backends")
    monkeypatch.setattr(
        backend_files, "entry_points", lambda group: (EntryPoint("openblas", package, "llamasmith.backends"),)
    )
    assert "is not there. Install" in only(root).problem


# -- by name, and by the environment


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("openblass", BackendNotFound, "Did you mean 'openblas'. Allowed: openblas, cuda, rpc"),
        ("", BackendNotFound, "No backend is named ''. Allowed"),
        (None, BackendNotFound, "No backend is named None"),
        ("../openblas", BackendNotFound, "Allowed"),
        ("rpc", BackendNotFound, "'rpc' is not installed. Installed: openblas. .*LLAMASMITH_BACKENDS='cpu;rpc'"),
    ],
)
def test_names(root: Path, name: Any, error: type[LlamaError], message: str) -> None:
    with pytest.raises(error, match=message):
        backends._find(name, installed_backends(root))


def test_errors_are_what_others_catch() -> None:
    assert issubclass(BackendNotFound, LookupError)
    assert issubclass(BackendError, EngineError)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (None, None),
        ("none", []),
        ("cpu", []),
        ("", []),
        ("cpu,openblas", ["openblas"]),
        ("openblas; rpc,openblas", ["openblas", "rpc"]),
    ],
)
def test_the_environment_restricts(monkeypatch: pytest.MonkeyPatch, said: str | None, wanted: list[str] | None) -> None:
    monkeypatch.delenv("LLAMASMITH_BACKENDS", raising=False)
    if said is not None:
        monkeypatch.setenv("LLAMASMITH_BACKENDS", said)
    assert backends.wanted_backends() == wanted


def test_names_given_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMASMITH_BACKENDS", "nonsense")
    assert backends.wanted_backends("openblas") == ["openblas"]
    assert backends.wanted_backends(("cpu", "rpc")) == ["rpc"]
    assert backends.wanted_backends(()) == []


@pytest.mark.parametrize(("said", "message"), [("cdua", "names 'cdua'. Allowed"), ("none,rpc", "none alone")])
def test_the_environment_may_be_wrong(monkeypatch: pytest.MonkeyPatch, said: str, message: str) -> None:
    monkeypatch.setenv("LLAMASMITH_BACKENDS", said)
    with pytest.raises(InvalidOption, match=message):
        backends.load_usable()


def test_a_broken_backend_is_warned_of_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLAMASMITH_BACKENDS", raising=False)
    cut(root / "backends" / "openblas")
    monkeypatch.setattr(backends, "installed_backends", lambda: installed_backends(root))
    monkeypatch.setattr(backends, "_loaded", {})
    monkeypatch.setattr(backends, "_warned", set())
    with pytest.warns(RuntimeWarning, match="is cut short.*LLAMASMITH_BACKENDS=none"):
        assert backends.load_usable() == ()
    assert backends.load_usable() == ()  # a second warning would be an error here
    with pytest.raises(BackendError, match="is cut short"):
        backends.load_usable(["openblas"])


def test_a_missing_library_says_how_to_get_it() -> None:
    files = BackendFiles("openblas", Path("/x/libggml-blas.so"), "llamasmith", facts())
    missing = "libscipy_openblas.so: cannot open shared object file"
    said = f"The backend at /x/libggml-blas.so cannot be loaded: load_backend: failed to load {files.path}: {missing}."
    told = f"The backend at /x/libggml-blas.so cannot be loaded: {missing}. Install it: pip install scipy-openblas32."
    assert files.why_not_loaded(said) == told
    assert files.why_not_loaded("something else.") == "something else."


# -- the loader itself, with libraries of a few lines

REFUSED = {
    "no backend at all": ("int x;", "ggml_backend_init"),
    "no registry": ("void * ggml_backend_init(void) { return 0; }", "returned NULL"),
    "another API": (
        "static struct { int version; void * rest[8]; } reg = { 99, { 0 } };\n"
        "void * ggml_backend_init(void) { return &reg; }",
        "incompatible API version",
    ),
    "another machine": (
        "int ggml_backend_score(void) { return 0; }\nvoid * ggml_backend_init(void) { return 0; }",
        "does not support this machine",
    ),
    "a missing function": ("void nobody_has_this(void);\nvoid f(void) { nobody_has_this(); }", "nobody_has_this"),
}
LOAD = """
import sys
from llamasmith import _core
from llamasmith.errors import BackendError
for path in sys.argv[1:]:
    try:
        print(_core.load_backend(path))
    except BackendError as error:
        print("refused:", error)
"""


@pytest.mark.compile
def test_the_loaders_own_refusals(run_python: Any, tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler, cc (Debian: apt-get install gcc)")
    paths = []
    for number, (source, _) in enumerate(REFUSED.values()):
        path = tmp_path / f"libggml-test{number}.so"
        command = [compiler, "-shared", "-fPIC", "-Wl,-z,lazy", "-x", "c", "-", "-o", str(path)]
        subprocess.run(command, input=source, text=True, check=True)
        paths.append(path)
    result = run_python(LOAD, *paths)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == len(REFUSED)
    for line, (_, message) in zip(lines, REFUSED.values(), strict=True):
        assert line.startswith("refused: The backend at /")
        assert message in line
    assert result.stderr == ""  # said once, by the exception: llama.cpp's own line is fit for debugging only


def test_what_llama_cpp_says_of_a_refused_backend_is_in_its_log(run_python: Any, tmp_path: Path) -> None:
    broken = tmp_path / "libggml-blas.so"
    broken.write_bytes(b"\x7fELF" + bytes(100))
    verbose = "import logging\nlogging.basicConfig(level='DEBUG', format='%(name)s %(levelname)s %(message)s')\n"
    result = run_python(verbose + LOAD, broken)
    assert "cannot be loaded: load_backend: failed to load" in result.stdout, result.stderr
    assert "llamasmith.llama_cpp DEBUG load_backend: failed to load" in result.stderr


def test_a_relative_path_is_never_searched_for(run_python: Any, tmp_path: Path) -> None:
    shutil.copy(SOUND, tmp_path / "libggml-blas.so")
    result = run_python(LOAD, "libggml-blas.so", "./libggml-blas.so", "", LD_LIBRARY_PATH=str(tmp_path))
    assert result.stdout.count("must be absolute") == 3, result.stdout + result.stderr


# -- those of this installation

HERE = [one.name for one in installed_backends() if not one.problem]
needs_openblas = pytest.mark.skipif(
    "openblas" not in HERE,
    reason="no backend openblas; build with: pip install . -C cmake.define.LLAMASMITH_BACKENDS='cpu;openblas'",
)


def test_loading_an_engine_loads_what_is_installed(run_python: Any) -> None:
    code = """
import llamasmith
llamasmith.load_engine()
print(sorted(one.name for one in llamasmith.loaded_backends()))
print([one.type for one in llamasmith.devices()].count("cpu"))
"""
    result = run_python(code)
    assert result.stdout.splitlines() == [str(sorted(HERE)), "1"], result.stderr
    assert result.stderr == ""
    result = run_python(code, LLAMASMITH_BACKENDS="none")
    assert result.stdout.splitlines() == ["[]", "1"], result.stderr


@needs_openblas
def test_openblas_computes_a_session(run_python: Any, tiny_path: Path) -> None:
    code = """
import os, sys, llamasmith
llamasmith.load_engine(backends=sys.argv[2:])
print([(one.name, one.type) for one in llamasmith.devices() if one.type != "cpu"])
print(os.environ.get("OPENBLAS_NUM_THREADS"), len(os.listdir("/proc/self/task")))
with llamasmith.Session(llamasmith.Model(sys.argv[1]), n_ctx=256, n_threads=2) as session:
    print(session.generate("hello world " * 20, max_tokens=8, temperature=0, ignore_eos=True).tokens)
"""
    with_blas = run_python(code, tiny_path, "openblas")
    devices, environment, tokens = with_blas.stdout.splitlines()
    assert devices == "[('BLAS', 'accel')]", with_blas.stderr
    assert environment == "None 1"  # our own setting is taken back, and no thread waits for work that may never come
    without = run_python(code, tiny_path).stdout.splitlines()
    assert (without[0], without[2]) == ("[]", tokens)


@needs_openblas
@pytest.mark.parametrize(("variable", "most"), [(None, 3), ("1", 1)])
def test_openblas_follows_the_session_unless_the_user_says_otherwise(
    run_python: Any, variable: str | None, most: int
) -> None:
    """The wrapper that ggml's call goes through, called as ggml calls it."""
    code = """
import ctypes, llamasmith
from llamasmith.backends import backends
llamasmith.load_backend("openblas")
library = next(one.path for one in backends() if one.name == "openblas")
wrapper = ctypes.CDLL(str(library)).smith_openblas_set_num_threads
wrapper(3)
maps = {line.split(None, 5)[-1].strip() for line in open("/proc/self/maps") if "openblas" in line}
(blas,) = [path for path in maps if "ggml" not in path]
library = ctypes.CDLL(blas)
ask = getattr(library, "scipy_openblas_get_num_threads", None) or library.openblas_get_num_threads
print(ask())
"""
    environment = {} if variable is None else {"OPENBLAS_NUM_THREADS": variable}
    result = run_python(code, **environment)
    assert result.stdout.split() == [str(most)], result.stderr


@needs_openblas
def test_a_second_file_of_one_kind_is_refused_by_the_loader(run_python: Any, tmp_path: Path) -> None:
    first = next(one.path for one in installed_backends() if one.name == "openblas")
    second = shutil.copy(first, tmp_path / first.name)
    result = run_python(LOAD, first, first, second)
    once, again, refused = result.stdout.splitlines()
    assert once == again, result.stderr
    assert once.startswith("{'path': ")
    assert "the same backend twice" in refused


def test_another_llama_cpp_on_the_library_path_does_no_harm(run_python: Any, tmp_path: Path) -> None:
    for name in ("libllama.so", "libggml.so", "libggml-base.so"):
        (tmp_path / name).write_bytes(b"\x7fELF not a library")
    code = """
import llamasmith
llamasmith.load_engine()
ours = {line.split(None, 5)[-1].strip() for line in open("/proc/self/maps") if "libggml" in line or "libllama" in line}
print(all("/llamasmith" in path for path in ours), len(ours) >= 4)
"""
    result = run_python(code, LD_LIBRARY_PATH=str(tmp_path))
    assert result.stdout.split() == ["True", "True"], result.stderr


def test_another_llama_cpp_in_the_process_is_refused(run_python: Any, tmp_path: Path) -> None:
    for name in ("libllama.so", "libggml.so", "libggml-base.so"):
        shutil.copy(package_root() / "lib" / name, tmp_path / name)
    code = """
import ctypes, sys
ctypes.CDLL(sys.argv[1])
try:
    import llamasmith
    llamasmith.load_engine()
except ImportError as error:
    print(error)
"""
    result = run_python(code, tmp_path / "libllama.so")
    assert "would run with another llama.cpp" in result.stdout, result.stderr
    assert str(tmp_path) in result.stdout


def test_every_kind_is_known_everywhere() -> None:
    assert set(KINDS) == {"openblas", "cuda", "rpc"}
    assert {"load_backend", "loaded_backends", "devices"} <= set(llamasmith.__all__)
