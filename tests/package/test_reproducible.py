"""The same inputs give the same bytes, in whatever folder. For the wheel: ci/wheels.py --twice."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import shipping_world  # noqa: F401 (makes `shipping` importable)

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
