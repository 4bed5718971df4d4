"""Builds of the programs beside this file: ggml's CPU backend, patched or pristine, linked in statically."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
BIN = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Path]:
    """build(program, *definitions, skip=names of patches): the program, made from our series without these.

    Called again, it compiles only what has changed.
    """
    cmake, ninja = (shutil.which(name, path=BIN) for name in ("cmake", "ninja"))
    if cmake is None or ninja is None or shutil.which("cc") is None:
        pytest.skip(
            "a build needs cmake and ninja (pip install 'llamasmith[test]') and a C compiler (apt-get install gcc)"
        )
    vendor = ROOT / "vendor" / "llama.cpp"
    if not vendor.is_dir():
        pytest.skip("vendor/llama.cpp is not there; fetch it with: python vendor/fetch.py")
    tree, out = tmp_path / "llama.cpp", tmp_path / "build"
    # ccache, if it is there, knows the objects of another run by their place below this folder.
    env = {**os.environ, "PATH": BIN, "PYTHONPATH": str(ROOT / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
    env |= {"CCACHE_BASEDIR": str(tmp_path), "CCACHE_NOHASHDIR": "1"}

    def run(*command: object) -> None:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, cwd=ROOT, env=env)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]

    def make(program: str, *definitions: str, skip: str = "") -> Path:
        series = ROOT / "patches" / "series"
        apply = ("-m", "llamasmith.patchset", "apply", "--tree", vendor, "--series", series, "--dest", tree)
        run(sys.executable, *apply, "--skip", skip)
        given = [f"-D{definition}" for definition in (f"LLAMASMITH_GGML_DIR={tree}/ggml", *definitions)]
        run(cmake, "-S", ROOT / "tests" / "native", "-B", out, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", *given)
        run(cmake, "--build", out, "--target", program)
        return out / program

    return make
