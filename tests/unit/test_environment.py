"""ci/environment.py: what is missing is said in a sentence, before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripts import load_script

SCRIPT = Path(__file__).resolve().parents[2] / "ci" / "environment.py"


@pytest.fixture
def environment() -> Any:
    return load_script(SCRIPT)


def test_a_compiler_that_is_not_there(environment: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "g++-of-tomorrow")
    with pytest.raises(environment.Missing, match="CXX is 'g\\+\\+-of-tomorrow', which is not there"):
        environment.check_compiler()
    monkeypatch.delenv("CXX")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(environment.Missing, match=r"no C compiler found \(cc, gcc, clang\).*build-essential"):
        environment.check_compiler()


def test_a_compiler_that_does_not_work(environment: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho 'thread: No such file' >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(environment.Missing, match=r"cannot build a C\+\+17 program: thread: No such file"):
        environment.check_compiler()


@pytest.mark.compile
def test_the_compiler_of_this_machine(environment: Any) -> None:
    environment.check_compiler()


def test_too_little_room(environment: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Usage:
        free = 10**8

    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: Usage)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    with pytest.raises(environment.Missing, match=r"0\.1 GB are free"):
        environment.check_disk()


def test_steps_say_what_is_compiled(environment: Any) -> None:
    log = [
        "Collecting numpy>=1.24",
        "noise",
        "[3/99] Building CXX object upstream/src/llama.cpp.o",
        "[40/99] Performing build step for 'engine-patched'",
        "[7/33] Building C object ggml-cpu.c.o",
    ]
    assert list(environment.steps(iter(log))) == [
        "Collecting numpy>=1.24",
        "compiling, libraries: 3 of 99",
        "compiling, engine patched: 40 of 99",
        "compiling, engine patched: 7 of 33",
    ]


@pytest.mark.parametrize(
    "telling",
    ["llamasmith: GGML_BLASS is not an option", "x.cpp:3:1: error: expected ';'", "ERROR: No matching distribution"],
)
def test_the_excerpt_begins_at_the_first_error(
    environment: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, telling: str
) -> None:
    log = tmp_path / "install.log"
    log.write_text("\n".join([*["fine"] * 100, telling, *["consequence"] * 100]), encoding="utf-8")
    monkeypatch.setattr(environment, "LOG", log)
    lines = environment.excerpt().splitlines()
    assert lines[3].strip() == telling
    assert len(lines) <= 20
