"""An empty environment, with no compiler on its PATH, away from the checkout: does a wheel install there, and work?"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .build import StepFailed, run
from .matrix import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from .matrix import Row

MODEL = "smollm2-135m"
MOST_SECONDS = 600


def environment(venv: Path) -> dict[str, str]:
    """PATH holds the environment's own programs, and nothing else."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LLAMASMITH_", "PYTHON", "LD_", "CMAKE", "SKBUILD_", "VIRTUAL_ENV"))
    }
    return {**kept, "PATH": str(venv / "bin"), "PYTHONNOUSERSITE": "1"}


def install(python: str, wheels: Sequence[Path], work: Path, log: Path) -> tuple[Path, float]:
    """The folder of a new environment with wheels in it, and the seconds that pip took; from wheels alone."""
    venv = work / "clean"
    shutil.rmtree(venv, ignore_errors=True)
    run([python, "-m", "venv", venv], log, cwd=work)
    start = time.monotonic()
    command = [venv / "bin" / "python", "-m", "pip", "install", "--only-binary=:all:", "--disable-pip-version-check"]
    run([*command, *wheels], log, cwd=venv, env=environment(venv))
    return venv, time.monotonic() - start


def smoke(row: Row, venv: Path, version: str, model: Path | None, log: Path) -> dict[str, Any]:
    """Runs the row's tests in an environment. Raises StepFailed with what went wrong."""
    script = venv / "smoke.py"
    shutil.copy(Path(__file__).with_name("smoke.py"), script)
    tests = [name for name in row.tests if name != "generate" or model is not None]
    facts = json.dumps({"version": version, "tests": tests, "backends": row.backends})
    words = [venv / "bin" / "python", script, *(["--model", model] if model else []), facts]
    done = subprocess.run(
        list(map(str, words)),
        cwd=venv,
        env=environment(venv),
        capture_output=True,
        text=True,
        timeout=MOST_SECONDS,
        check=False,
    )
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}\n")
    try:
        seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise StepFailed(f"its test ended with status {done.returncode}: {done.stderr[-1500:]}\n  log: {log}") from None
    if "error" in seen:
        raise StepFailed(f"{seen['error']}\n  log: {log}")
    return seen


def a_model(venv: Path, log: Path) -> tuple[Path | None, str]:
    """The real model if it is there or the wheel can pull it, else the tests' tiny one, else none; and which it is."""
    command = [str(venv / "bin" / "python"), "-m", "llamasmith", "pull", MODEL]
    done = subprocess.run(command, cwd=venv, env=environment(venv), capture_output=True, text=True, check=False)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n{done.stdout}\n{done.stderr}\n")
    if done.returncode == 0:
        return Path(done.stdout.strip().splitlines()[-1]), MODEL
    try:
        return tiny_model(venv / "tiny.gguf"), "tiny"
    except ImportError:  # without the packages of the extra [test]
        return None, "none"


def tiny_model(path: Path) -> Path:
    """The model that the tests write; needs the packages of the extra [test]."""
    if not path.is_file():
        _conftest().write_tiny_model(path)
    return path


def _conftest() -> ModuleType:
    spec = importlib.util.spec_from_file_location("smith_conftest", ROOT / "tests" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def matching(wheels: Sequence[Path], tag: str) -> list[Path]:
    """Those that an interpreter with a tag such as ``cp311`` can install."""
    return [wheel for wheel in wheels if f"-{tag}-" in wheel.name or "-py3-" in wheel.name]
