"""What is told of a library before it is mapped: a file that is cut short would end the process."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from llamasmith.build import package_root
from llamasmith.elf import elf_problem

if TYPE_CHECKING:
    from pathlib import Path

LIBRARY = package_root() / "lib" / "libggml.so"


def changed(tmp_path: Path, offset: int, *values: int) -> Path:
    """A copy of a sound library with bytes replaced."""
    content = bytearray(LIBRARY.read_bytes())
    content[offset : offset + len(values)] = bytes(values)
    path = tmp_path / "changed.so"
    path.write_bytes(content)
    return path


def test_a_sound_library_has_no_problem() -> None:
    assert elf_problem(LIBRARY) == ""


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.002, 0.3, 0.7])
def test_any_part_of_it_has_one(tmp_path: Path, share: float) -> None:
    content = LIBRARY.read_bytes()
    path = tmp_path / "cut.so"
    path.write_bytes(content[: int(len(content) * share)])
    assert ("cut short" in elf_problem(path)) == (share > 0)
    assert elf_problem(path)


@pytest.mark.parametrize(
    ("offset", "values", "problem"),
    [
        (0, b"\x00ELF", "no ELF header"),
        (4, b"\x01", "another kind of machine"),
        (18, b"\xff\xff", "is a library for machine 65535, not for "),
        (16, b"\x02\x00", "not a shared library"),
        (54, b"\x01\x00", "damaged"),
        (56, b"\x00\x00", "damaged"),
        (32, struct.pack("<Q", 1 << 40), "cut short"),
    ],
)
def test_headers_that_lie(tmp_path: Path, offset: int, values: bytes, problem: str) -> None:
    assert problem in elf_problem(changed(tmp_path, offset, *values))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read" in elf_problem(tmp_path / "absent.so")
    assert "cannot be read" in elf_problem(tmp_path)
    page = tmp_path / "page.html"
    page.write_text("<html>404</html>", encoding="utf-8")
    assert "no ELF header" in elf_problem(page)
