"""NVIDIA's compiler, asked what it is. Used by cuda_toolkit.py."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from llamasmith.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

Version = tuple[int, int]


def in_words(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def parse_version(text: str) -> Version | None:
    """From what ``nvcc --version`` says."""
    match = re.search(r"release (\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def ask_nvcc(nvcc: Path, *words: str) -> str:
    """What the compiler answers. Raises BuildError if it cannot be run."""
    try:
        done = subprocess.run([str(nvcc), *words], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{nvcc} cannot be run: {error}.") from None
    if done.returncode != 0:
        raise BuildError(f"{nvcc} {' '.join(words)} failed: {(done.stderr or done.stdout).strip()}.")
    return done.stdout


def known_architectures(nvcc: Path) -> list[str]:
    try:
        answer = ask_nvcc(nvcc, "--list-gpu-arch")
    except BuildError:
        return []
    return list(dict.fromkeys(re.findall(r"compute_(\d+)", answer)))
