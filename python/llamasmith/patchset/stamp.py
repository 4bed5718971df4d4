"""Stamps: a tree that was hashed once need not be hashed again while nobody has written to it.

A stamp is a file in the tree with two words: what was established (a digest), and a digest over size, times and
inode of every file. The change time is what makes it honest: unlike the modification time no tool can set it back,
so a stamp that still fits means that no file was written, added, removed or replaced since.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["drop_stamp", "read_stamp", "stat_digest", "write_stamp"]


def stat_digest(files: Iterable[tuple[str, Path]]) -> str:
    """Changes with any write to the files, or any file more or less."""
    state = hashlib.sha256()
    for name, path in sorted(files):
        facts = path.lstat()
        line = f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_ctime_ns}\0{facts.st_ino}\n"
        state.update(line.encode("utf-8", "surrogateescape"))
    return state.hexdigest()


def read_stamp(stamp: Path, files: Iterable[tuple[str, Path]]) -> str | None:
    """What was established, if it still holds."""
    try:
        established, stats = stamp.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return established if stats == stat_digest(files) else None


def write_stamp(stamp: Path, established: str, files: Iterable[tuple[str, Path]]) -> bool:
    """Record it; False in a read-only tree, which then is hashed each time."""
    temporary = stamp.with_name(f"{stamp.name}.{os.getpid()}")
    try:
        temporary.write_text(f"{established} {stat_digest(files)}\n", encoding="ascii")
        temporary.replace(stamp)
    except OSError:
        return False
    return True


def drop_stamp(stamp: Path) -> None:
    """Nothing is established any more."""
    stamp.unlink(missing_ok=True)
