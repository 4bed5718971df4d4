"""The same inputs give the same bytes, in whatever folder. For the wheel: ci/wheels.py --twice."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import shipping_world  # noqa: F401 (makes `shipping` importable)

from llamasmith.build import build_info, package_root
from shipping.build import make_sdist, unpack
from shipping.twice import differences

if TYPE_CHECKING:
    from pathlib import Path


def test_the_source_distribution(sdist: Path, tmp_path: Path) -> None:
    """Made of a checkout, and made of its own unpacked copy elsewhere, whose files have other times and modes."""
    source = unpack(sdist, tmp_path / "elsewhere")
    for path in source.rglob("*"):
        path.chmod(path.stat().st_mode & ~0o022 | 0o400)
    again = make_sdist(tmp_path / "again", tmp_path / "log.txt", source)
    assert differences(sdist, again) == []
    with tarfile.open(again) as tar:
        assert {(member.uid, member.gid, member.uname, member.gname) for member in tar} == {(0, 0, "", "")}


def test_a_library_names_the_pin_and_no_other_commit() -> None:
    """ggml asks git for the commit of whatever repository lies around the build folder, unless it is told."""
    library = (package_root() / "lib" / "libggml-base.so").read_bytes()
    assert build_info().pin.encode() in library
