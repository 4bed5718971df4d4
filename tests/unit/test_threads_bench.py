"""The command ci/threads-bench, in a checkout whose Python only says what it is asked to run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Writes the record that it is asked for, and ends with the status of that name.
PYTHON = """#!/bin/sh
echo "$*" >> asked
case "$*" in
    *"lab run"*)
        while [ "$1" != --json ]; do shift; done
        [ "${RECORD:-yes}" = no ] || echo "{}" > "$2"
        exit "${RUN:-0}" ;;
    *"lab required"*) echo "the table of $5"; exit "${REQUIRED:-0}" ;;
    *gemma*) exit "${GEMMA:-1}" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "ci").mkdir()
    for name in ("threads-bench", "python.sh"):
        shutil.copy(ROOT / "ci" / name, tmp_path / "ci" / name)
    (tmp_path / "ci" / "environment.py").write_text("", encoding="utf-8")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON, encoding="utf-8")
    python.chmod(0o755)
    (tmp_path / "else where").mkdir()
    return tmp_path


def bench(checkout: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "ci" / "threads-bench", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=checkout / "else where",
        env={**os.environ, "PYTHON": sys.executable, **env},
    )


def asked(checkout: Path) -> list[str]:
    """The commands of llamasmith that were run."""
    lines = (checkout / "asked").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("-m llamasmith ") for line in lines if line.startswith("-m llamasmith ")]


def test_a_small_model_is_the_default(checkout: Path) -> None:
    done = bench(checkout)
    assert done.returncode == 0, done.stderr
    pull, run, required = asked(checkout)
    assert pull == "pull smollm2-135m"
    assert run.startswith("lab run threads -m smollm2-135m --rounds 5 --warmup 1 ")
    assert "--json build/threads/smollm2-135m.json --html build/threads/smollm2-135m.html" in run
    assert required == "lab required build/threads/smollm2-135m.json"
    assert "the table of build/threads/smollm2-135m.json" in done.stdout


def test_another_model_that_is_there_is_measured_too(checkout: Path) -> None:
    assert bench(checkout, GEMMA="0").returncode == 0
    assert any("-m gemma3-270m " in command for command in asked(checkout))


def test_models_are_taken_from_where_it_was_called(checkout: Path) -> None:
    file = checkout / "else where" / "mine.gguf"
    file.write_bytes(b"GGUF")
    assert bench(checkout, "--rounds", "7", "mine.gguf", "smollm2-135m").returncode == 0
    runs = [command for command in asked(checkout) if command.startswith("lab run")]
    assert runs[0].startswith(f"lab run threads -m {file} --rounds 7 ")
    assert "build/threads/mine.json" in runs[0]
    assert runs[1].startswith("lab run threads -m smollm2-135m ")


def test_quick_is_short(checkout: Path) -> None:
    assert bench(checkout, "--quick", "smollm2-135m").returncode == 0
    assert "--rounds 3 --warmup 0" in asked(checkout)[0]
    assert "--metric tg64" in asked(checkout)[0]


@pytest.mark.parametrize(
    ("env", "status", "shows"),
    [
        ({"RUN": "1"}, 1, True),  # an arm has ended early
        ({"RUN": "1", "RECORD": "no"}, 1, False),
        ({"RUN": "130"}, 130, True),
        ({"REQUIRED": "1"}, 1, True),
    ],
)
def test_the_status_says_whether_it_could_measure(
    checkout: Path, env: dict[str, str], status: int, shows: bool
) -> None:
    kept = checkout / "build" / "threads" / "smollm2-135m.json"
    kept.parent.mkdir(parents=True)
    kept.write_text("of an earlier run", encoding="utf-8")
    done = bench(checkout, "smollm2-135m", **env)
    assert done.returncode == status
    assert ("the table of" in done.stdout) is shows


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rounds",), "--rounds needs a number."),
        (("--rounds", "many"), "--rounds needs a number."),
        (("--fast",), "there is no option --fast"),
    ],
)
def test_bad_words_are_refused(checkout: Path, words: tuple[str, ...], message: str) -> None:
    done = bench(checkout, *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (checkout / "asked").exists()


def test_it_tells_how_it_is_used(checkout: Path) -> None:
    done = bench(checkout, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Runs the experiment `threads`")
    assert "--quick" in done.stdout
    assert "#" not in done.stdout
