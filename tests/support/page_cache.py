"""What Linux holds of a file in memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def resident(file: Path) -> int:
    """Pages of a file that are in memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        there = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        begin = ctypes.c_char.from_buffer(mapped)
        failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(begin)), ctypes.c_size_t(len(mapped)), there)
        del begin  # or the map cannot be closed
    assert failed == 0, os.strerror(ctypes.get_errno())
    return sum(page & 1 for page in there)


def need_disk(folder: Path) -> None:
    """Skips the test where files lie in memory alone: Linux cannot forget those."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True).stdout
    if kind.strip() in ("tmpfs", "ramfs"):
        pytest.skip("temporary files lie in memory here; name a folder on a disk: pytest --basetemp FOLDER")
