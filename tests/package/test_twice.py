"""Two archives that should be one: what differs is named, down to the section of a library."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest
import shipping_world  # noqa: F401 (makes `shipping` importable)

from llamasmith.build import package_root
from shipping.twice import differences, section_at, where

if TYPE_CHECKING:
    from pathlib import Path

Entry = tuple[str, bytes, tuple[int, int, int, int, int, int], int]
A: Entry = ("a.py", b"x = 1\n", (2022, 1, 1, 0, 0, 0), 0o644)
B: Entry = ("b.py", b"y = 2\n", (2022, 1, 1, 0, 0, 0), 0o644)


def wheel(path: Path, *entries: Entry, how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content, time, mode in entries:
            info = zipfile.ZipInfo(name, time)
            info.external_attr = mode << 16
            info.compress_type = how
            file.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ((A, B), []),
        ((B, A), ["the files are in another order"]),
        ((A,), ["b.py: only in the first"]),
        ((A, (*B[:3], 0o755)), ["b.py: its mode is 644, then 755"]),
        ((A, (*B[:2], (2023, 1, 1, 0, 0, 0), B[3])), ["b.py: its time is (2022, 1"]),
        ((A, ("b.py", b"y = 3\n", *B[2:])), ["b.py: from byte 4: b'y = 2\\n', then b'y = 3\\n'"]),
        ((A, ("b.py", b"y = 2\n#", *B[2:])), ["b.py: 6 and 7 bytes; from byte 6"]),
    ],
)
def test_two_wheels(tmp_path: Path, second: tuple[Entry, ...], expected: list[str]) -> None:
    found = differences(wheel(tmp_path / "a.whl", A, B), wheel(tmp_path / "b.whl", *second))
    if expected:  # the files of the test have two names
        assert found.pop(0) == "the names differ: a.whl, b.whl"
    assert len(found) == len(expected), found
    for line, beginning in zip(found, expected, strict=True):
        assert line.startswith(beginning)


def test_an_archive_that_is_packed_otherwise(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    first = wheel(tmp_path / "1" / "a.whl", A)
    second = wheel(tmp_path / "2" / "a.whl", A, how=zipfile.ZIP_DEFLATED)
    assert differences(first, second) == [
        "the archives differ in what holds their files together (compression, or the archive's own fields)"
    ]


def test_two_sdists(tmp_path: Path) -> None:
    paths = []
    for number, mode in enumerate((0o644, 0o755)):
        path = tmp_path / str(number) / "s.tar.gz"
        path.parent.mkdir()
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo("s/setup")
            info.size, info.mode = 1, mode
            tar.addfile(info, io.BytesIO(b"x"))
        paths.append(path)
    assert differences(*paths) == ["s/setup: its mode is 644, then 755"]


def test_the_section_of_a_library() -> None:
    library = (package_root() / "lib" / "libggml-base.so").read_bytes()
    at = library.index(b"GGML_ASSERT")
    changed = library[:at] + b"X" + library[at + 1 :]
    assert section_at(library, at) == ".rodata"
    assert " in .rodata: " in where(library, changed)
    assert section_at(b"no library", 3) == ""
