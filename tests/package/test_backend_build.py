"""Backends from our source distribution: one that cannot be built stops the configure step; a wheel of one is small."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from email.parser import Parser
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
BIN = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
WHEEL = "scipy_openblas32"


@pytest.mark.compile
@pytest.mark.parametrize(
    ("definitions", "messages"),
    [
        (
            ["LLAMASMITH_BACKENDS=cpu;openblas", "LLAMASMITH_OPENBLAS=wheel"],
            ["LLAMASMITH_OPENBLAS=wheel", "is not there", "libopenblas-dev", "build.requires=scipy-openblas32"],
        ),
        (["LLAMASMITH_BACKENDS=cpu", "GGML_BLAS=ON"], ["GGML_BLAS=ON asks for the backend openblas"]),
    ],
)
def test_a_backend_that_cannot_be_built_stops_the_configure_step(
    configure: Callable[..., Any],
    offline: dict[str, str],
    unpacked: Path,
    tmp_path: Path,
    definitions: list[str],
    messages: list[str],
) -> None:
    hidden = tmp_path / "hidden"  # before the real one, if that is installed
    hidden.mkdir()
    (hidden / f"{WHEEL}.py").touch()
    offline["PYTHONPATH"] = str(hidden)
    done = configure(unpacked, tmp_path / "build", *definitions)
    assert done.returncode != 0
    said = " ".join(done.stderr.split())  # CMake breaks lines
    for message in messages:
        assert message in said
    done = configure(unpacked, tmp_path / "build", "LLAMASMITH_BACKENDS=", "GGML_BLAS=OFF", "LLAMASMITH_OPENBLAS=auto")
    assert done.returncode == 0, done.stderr


@pytest.mark.compile
@pytest.mark.slow
def test_a_backend_alone(configure: Callable[..., Any], run_python: Any, unpacked: Path, tmp_path: Path) -> None:
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        pytest.skip("scipy-openblas32 is not installed: pip install 'llamasmith[test]'")
    build, prefix = tmp_path / "build", tmp_path / "prefix"
    done = configure(unpacked, build, "LLAMASMITH_BACKENDS=openblas", "LLAMASMITH_OPENBLAS=wheel")
    assert done.returncode == 0, done.stderr
    cmake = shutil.which("cmake", path=BIN)
    assert cmake is not None
    env = {**os.environ, "PATH": BIN, "CCACHE_BASEDIR": str(tmp_path), "CCACHE_NOHASHDIR": "1"}
    for command in (["--build", build], ["--install", build, "--prefix", prefix, "--component", "backend-openblas"]):
        done = subprocess.run([cmake, *map(str, command)], capture_output=True, text=True, check=False, env=env)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]

    package = prefix / "llamasmith_openblas"
    files = {path.relative_to(prefix).as_posix() for path in prefix.rglob("*") if path.is_file()}
    own = ("libggml-blas.so", "backend.json", "licenses/llama.cpp.txt")
    assert files == {f"{package.name}/{name}" for name in own}
    assert not list(build.glob("engine-*"))
    assert sum((prefix / file).stat().st_size for file in files) < 1_000_000
    facts = json.loads((package / "backend.json").read_text(encoding="utf-8"))
    assert (facts["name"], facts["built"]["from"]) == ("openblas", "wheel")
    assert facts["version"] == metadata.version("llamasmith")

    # Beside the installed core, as in site-packages: it needs nothing but what lies there.
    (prefix / WHEEL).symlink_to(Path(spec.origin).parent)
    code = """
import sys
from llamasmith import _core
print([device["name"] for device in _core.load_backend(sys.argv[1])["devices"]])
"""
    result = run_python(code, package / "libggml-blas.so")
    assert result.stdout == "['BLAS']\n", result.stderr


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in ROOT.glob("wheels/*/pyproject.toml")))
def test_a_backend_wheel_is_of_this_version(folder: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("scikit_build_core") is None:
        pytest.skip("scikit-build-core is not installed: pip install 'llamasmith[test]'")
    code = "import sys; from scikit_build_core.build import prepare_metadata_for_build_wheel as make; make(sys.argv[1])"
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT / "wheels" / folder)
    assert done.returncode == 0, done.stderr
    (info,) = tmp_path.glob("*.dist-info")
    told = Parser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
    core = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'(?m)^version = "(.+)"', core)
    assert version is not None
    assert told["Version"] == version[1]
    assert f"llamasmith=={version[1]}" in (told.get_all("Requires-Dist") or [])
    assert f'{folder} = ["{told["Name"]}=={version[1]}"]' in core  # the extra that installs it
    assert f"= llamasmith_{folder}" in (info / "entry_points.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        ("-DGGML_BLAS=ON -DGGML_BLAS_VENDOR=OpenBLAS", True),
        ("-DGGML_BLAS=on", True),
        ("-DLLAMASMITH_BACKENDS='cpu;openblas'", True),
        ("-DGGML_BLAS=ON -DLLAMASMITH_OPENBLAS=system", False),
        ("-DGGML_BLAS=OFF", False),
        ("", False),
    ],
)
def test_openblas_comes_into_the_isolated_build_where_it_is_asked_for(arguments: str, asked: bool) -> None:
    if importlib.util.find_spec("scikit_build_core") is None:
        pytest.skip("scikit-build-core is not installed: pip install 'llamasmith[test]'")
    code = "from scikit_build_core.build import get_requires_for_build_wheel as ask; print(*ask(), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "CMAKE_ARGS": arguments},
    )
    assert any(line.startswith("scipy-openblas32") for line in done.stdout.splitlines()) == asked
