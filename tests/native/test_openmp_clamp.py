"""The patch threading-openmp-clamp: AddressSanitizer sees upstream read past a small pool's workers, and us not."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
SERIES = (ROOT / "patches" / "series").read_text(encoding="utf-8").splitlines()
PATCHES = ";".join(line for line in SERIES if line and not line.startswith("#"))

# No optimisation: half the time of compilation, and the fault is one of logic.
CHOICES = ("GGML_OPENMP=ON", "LLAMASMITH_SANITIZE=address", "CMAKE_BUILD_TYPE=Debug")


def has_openmp(folder: Path) -> bool:
    command = ["cc", "-fopenmp", "-fsanitize=address", "-x", "c", "-", "-o", str(folder / "probe")]
    probe = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
    return subprocess.run(command, input=probe, capture_output=True, text=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.timeout(1800)
def test_a_graph_for_more_threads_than_the_pool_has(build: Callable[..., Path], tmp_path: Path) -> None:
    if not has_openmp(tmp_path):
        pytest.skip("needs OpenMP and AddressSanitizer of the compiler (Debian: apt-get install gcc libgomp1 libasan8)")
    pristine = subprocess.run(
        [build("openmp-clamp", *CHOICES, skip=PATCHES)], capture_output=True, text=True, check=False
    )
    assert "AddressSanitizer: heap-buffer-overflow" in pristine.stderr, pristine.stderr
    assert "in ggml_graph_compute" in pristine.stderr, pristine.stderr

    patched = subprocess.run([build("openmp-clamp", *CHOICES)], capture_output=True, text=True, check=False)
    assert patched.returncode == 0, patched.stdout + patched.stderr
    assert patched.stdout == "status 0, 0 wrong values, 1 warnings\n"
