"""Our own source distribution, built once, and the parts of the build by themselves."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def need(*modules: str, why: str) -> None:
    absent = [module for module in modules if importlib.util.find_spec(module) is None]
    if absent:
        pytest.skip(f"{why} needs {', '.join(absent)}: pip install 'llamasmith[test]'")


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of this checkout."""
    need("build", "scikit_build_core", "pybind11", why="building the source distribution without the index")
    if not (ROOT / "vendor" / "llama.cpp").is_dir():
        pytest.skip("vendor/llama.cpp is not there; fetch it with: python vendor/fetch.py")
    out = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=out)
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = out.iterdir()
    return archive


@pytest.fixture
def unpacked(sdist: Path, tmp_path: Path) -> Path:
    """The folder of an unpacked source distribution, away from any checkout."""
    with tarfile.open(sdist) as tar:
        tar.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    return folder


@pytest.fixture
def offline() -> dict[str, str]:
    """An environment in which neither pip nor git reaches anything."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "LLAMASMITH_", "GIT_"))}
    nowhere = "http://127.0.0.1:9"
    proxies = {
        name: nowhere for plain in ("http", "https", "all") for name in (f"{plain}_proxy", f"{plain}_PROXY".upper())
    }
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_INDEX_URL": nowhere, "PIP_NO_CACHE_DIR": "1"}
    return {**kept, **proxies, **pip, "no_proxy": "", "NO_PROXY": ""}


@pytest.fixture
def configure(offline: dict[str, str]) -> Run:
    """Runs CMake's configure step, offline: configure(source, build, "NAME=VALUE", ...)."""
    need("pybind11", why="a configure step")
    cmake, ninja = (shutil.which(name, path=BIN) for name in ("cmake", "ninja"))
    if cmake is None or ninja is None or shutil.which("cc") is None:
        pytest.skip("a configure step needs cmake, ninja and a C compiler (cc)")
    import pybind11

    def run(source: Path, build: Path, *definitions: str) -> subprocess.CompletedProcess[str]:
        given = [f"-D{definition}" for definition in definitions]
        # Tools come from the environment of the tests, as the build's do from its own.
        tools = {
            "CMAKE_MAKE_PROGRAM": ninja,
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": pybind11.get_cmake_dir(),
        }
        command = [cmake, "-S", source, "-B", build, "-G", "Ninja", *given]
        command += [f"-D{name}={value}" for name, value in tools.items()]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=offline)

    return run
