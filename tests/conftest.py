"""Models for the tests: a tiny one that the tests write themselves, and the real SmolLM2, pulled once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_model import write_tiny_model

ROOT = Path(__file__).resolve().parent.parent
SMOLLM2 = "smollm2-135m"


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of a tiny model."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny.gguf")


@pytest.fixture(scope="session")
def tiny(tiny_path: Path) -> Iterator[Any]:
    """The tiny model, loaded once."""
    from llamasmith import Model

    with Model(tiny_path) as model:
        yield model


@pytest.fixture
def session(tiny: Any) -> Iterator[Any]:
    """A session of the tiny model with two threads."""
    from llamasmith import Session

    with Session(tiny, n_ctx=256, n_threads=2, wait="yield") as session:
        yield session


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """Path of the real model, pulled into the user's cache if it is not there."""
    from llamasmith import hub

    return hub.pull(SMOLLM2)


@pytest.fixture(scope="session")
def smollm2(smollm2_path: Path) -> Iterator[Any]:
    """The real model, loaded once."""
    from llamasmith import Model

    with Model(smollm2_path) as model:
        yield model


RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_python(tmp_path: Path) -> RunPython:
    """Runs a script in a process of its own: for what ends a process, or for another engine."""

    def run(code: str, *args: str | Path, timeout: float = 120, **env: str) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "script.py"
        script.write_text(code, encoding="utf-8")
        return subprocess.run(
            [sys.executable, str(script), *map(str, args)],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=tmp_path,
            env={**os.environ, **env},
        )

    return run
