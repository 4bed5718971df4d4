"""Builds that stand in for another machine, see ci/threads-bench --stand-in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "vendor" / "llama.cpp"
BENCH = ROOT / "ci" / "threads-bench"


@pytest.mark.skipif(not VENDOR.is_dir(), reason="needs vendor/llama.cpp: python vendor/fetch.py")
@pytest.mark.parametrize("patch", sorted((ROOT / "ci" / "stand-ins").glob("*.patch")), ids=lambda path: path.stem)
def test_its_patch_applies_after_the_series(patch: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    words = ["--tree", VENDOR, "--series", ROOT / "patches" / "series", "--dest", tree, "--extra", patch, "--skip", ""]
    words += ["--code-dir", ROOT / "src" / "threading", "--manifest", tmp_path / "manifest"]
    command = [sys.executable, "-m", "llamasmith.patchset", "apply", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    changed = (tree / "ggml" / "src" / "ggml-cpu" / "ggml-cpu.c").read_text(encoding="utf-8")
    assert "ggml_compute_forward_once" in changed


@pytest.mark.parametrize("words", [["--stand-in"], ["--stand-in", "gpu"], ["--rounds", "many"], ["--quik"]])
def test_a_wrong_word_is_told(words: list[str]) -> None:
    done = subprocess.run([BENCH, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("ci/threads-bench: ")
