"""Applying changes: a hunk fits exactly where it says, or it does not apply.

Our own series is made for one exact tree, so there is no fuzz and no searching. Only patches that we did not make
for this very tree (a user's, or ours behind one that the user left out) may be found at another line: their lines
must then match in full and in one single place, and the shift is reported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import PatchError
from .pin import inside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .diff import FileChange, Hunk

__all__ = ["Overlay", "apply_change", "split_lines"]


def split_lines(content: bytes) -> list[bytes]:
    """Lines with their ends; only ``\\n`` ends a line, so CRLF and form feeds survive as content."""
    lines = [line + b"\n" for line in content.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


@dataclass
class Overlay:
    """A tree with changes kept in memory; ``None`` is a deleted file. The tree itself is never written to."""

    tree: Path
    changed: dict[str, bytes | None] = field(default_factory=dict)

    def read(self, path: str) -> bytes | None:
        """The content of a file, ``None`` where there is none."""
        if path in self.changed:
            return self.changed[path]
        file = inside(self.tree, path)
        return file.read_bytes() if file.is_file() else None

    def apply(
        self, change: FileChange, *, name: str, offsets: bool = False, say: Callable[[str], None] = lambda line: None
    ) -> None:
        """Apply one file's change."""
        self.changed[change.path] = apply_change(change, self.read(change.path), name=name, offsets=offsets, say=say)


def apply_change(
    change: FileChange,
    content: bytes | None,
    *,
    name: str,
    offsets: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> bytes | None:
    """The file's content after the change; ``None`` when it is deleted."""
    if change.creates and content is not None:
        raise PatchError(f"{name} does not apply: it creates {change.path}, which exists already")
    if not change.creates and content is None:
        raise PatchError(f"{name} does not apply: {change.path} does not exist in the tree")
    lines = split_lines(content or b"")
    out: list[bytes] = []
    done = 0
    shift = 0
    for number, hunk in enumerate(change.hunks, 1):
        where = f"{name} does not apply: {change.path}, hunk {number} ({hunk})"
        at = hunk.index + shift
        if at < done or not _fits(hunk, lines, at):
            places = _places(hunk, lines, done)
            if not offsets or len(places) != 1:
                raise PatchError(f"{where}{_mismatch(hunk, lines, hunk.index + shift, places)}")
            at = places[0]
            shift = at - hunk.index
            say(f"{name}: {change.path}, hunk {number} applied at line {at + 1}, {shift:+d} lines from where it says")
        out += lines[done:at] + hunk.new
        done = at + hunk.old_count
    out += lines[done:]
    if any(not line.endswith(b"\n") for line in out[:-1]):
        raise PatchError(f"{name} does not apply: {change.path}: a line without its end would not be the last one")
    if not change.deletes:
        return b"".join(out)
    if out:
        raise PatchError(f"{name} does not apply: it deletes {change.path}, but {len(out)} lines would be left over")
    return None


def _fits(hunk: Hunk, lines: list[bytes], at: int) -> bool:
    return at + hunk.old_count <= len(lines) and lines[at : at + hunk.old_count] == hunk.old


def _places(hunk: Hunk, lines: list[bytes], start: int) -> list[int]:
    if not hunk.old:
        return []  # no line to go by: it fits anywhere, that is to say nowhere
    return [at for at in range(start, len(lines) - hunk.old_count + 1) if _fits(hunk, lines, at)]


def _mismatch(hunk: Hunk, lines: list[bytes], at: int, places: list[int]) -> str:
    """Line, expected, found, and where the expected lines are instead."""
    step, expected = 0, b""
    for step, expected in enumerate(hunk.old):
        if at + step >= len(lines) or lines[at + step] != expected:
            break
    found = repr(lines[at + step].decode("utf-8", "replace")) if 0 <= at + step < len(lines) else "the end of the file"
    text = f", line {at + step + 1}\n  expected: {expected.decode('utf-8', 'replace')!r}\n  found:    {found}"
    if len(places) == 1:
        text += f"\n  its lines are at line {places[0] + 1} instead: the patch was made for another tree"
    elif places:
        text += f"\n  its lines are in {len(places)} places, first at lines {_few(places)}: give it more context"
    return text


def _few(places: list[int]) -> str:
    return ", ".join(str(place + 1) for place in places[:3])
