"""The series: which patches, in which order, and a user's choice among them."""

from __future__ import annotations

import difflib
import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ..errors import PatchError
from .diff import FileChange, parse_diff, split_header
from .header import Header, parse_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["CPU_ENGINE", "NAME", "Patch", "Selection", "load_series", "parse_patch", "select", "series_names"]

CPU_ENGINE = "ggml/src/ggml-cpu/"
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+\.patch")


@dataclass(frozen=True)
class Patch:
    """One patch file, read."""

    name: str
    path: Path
    data: bytes
    head: bytes
    header: Header
    changes: tuple[FileChange, ...]
    origin: str = "series"

    @property
    def subject(self) -> str:
        """One line; the file's name when the header has none."""
        return self.header.subject or self.name.removesuffix(".patch")

    @property
    def scope(self) -> str:
        """``cpu-engine`` or ``core``; inferred from the files when the header does not say."""
        return self.header.fields.get("Scope") or self.inferred_scope

    @property
    def inferred_scope(self) -> str:
        """What the files say."""
        return "cpu-engine" if all(name.startswith(CPU_ENGINE) for name in self.files) else "core"

    @cached_property
    def sha256(self) -> str:
        """Of the whole file, header included."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def files(self) -> tuple[str, ...]:
        """Paths that it touches, in its order."""
        return tuple(change.path for change in self.changes)

    @property
    def changed_lines(self) -> int:
        """Lines added plus lines removed."""
        return sum(change.changed_lines for change in self.changes)


@dataclass(frozen=True)
class Selection:
    """What is applied, in order, and which of the series were left out."""

    patches: tuple[Patch, ...]
    skipped: tuple[str, ...] = ()


def parse_patch(path: Path, *, origin: str = "series") -> Patch:
    """Read one patch file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PatchError(f"{path} cannot be read: {error.strerror}") from error
    head, diff = split_header(data)
    changes = parse_diff(diff, name=path.name, first_line=head.count(b"\n") + 1)
    if not changes:
        raise PatchError(f"{path} has no diff in it")
    return Patch(path.name, path, data, head, parse_header(head.decode("utf-8", "replace")), changes, origin)


def series_names(series: Path) -> list[str]:
    """The names in a series file; ``#`` starts a comment."""
    try:
        text = series.read_text(encoding="utf-8")
    except OSError as error:
        raise PatchError(f"the series {series} cannot be read: {error.strerror}") from error
    names = [name for line in text.splitlines() if (name := line.split("#")[0].strip())]
    for name in names:
        if not NAME.fullmatch(name):
            raise PatchError(f"{series}: {name!r} is not a name of the form <topic>-<change>.patch in lower case")
        if names.count(name) > 1:
            raise PatchError(f"{series} lists {name} twice")
    return names


def load_series(series: Path) -> tuple[Patch, ...]:
    """Every patch of a series file, in order."""
    patches = []
    for name in series_names(series):
        path = series.parent / name
        if not path.is_file():
            raise PatchError(
                f"{series} lists {name}, but there is no such file{_meant(name, _patches_in(path.parent))}"
            )
        patches.append(parse_patch(path))
    return tuple(patches)


def select(series: Sequence[Patch], *, skip: Sequence[str] = (), extra: Sequence[Path] = ()) -> Selection:
    """The series without what the user skips, then the user's own patches in their order."""
    names = [patch.name for patch in series]
    skipped = []
    for wish in skip:
        name = wish if wish.endswith(".patch") else f"{wish}.patch"
        if name not in names:
            raise PatchError(f"cannot skip {wish!r}: the series has no such patch{_meant(name, names)}")
        if name in skipped:
            raise PatchError(f"{wish!r} is to be skipped twice")
        skipped.append(name)
    chosen = [patch for patch in series if patch.name not in skipped]
    for path in extra:
        if not path.is_file():
            raise PatchError(f"there is no patch file {path}{_meant(path.name, _patches_in(path.parent))}")
        if any(path.name == patch.name for patch in (*series, *chosen)):
            raise PatchError(f"{path}: a patch of the name {path.name} is in the list already; rename yours")
        chosen.append(parse_patch(path, origin="extra"))
    for patch in chosen:
        outside = [name for name in patch.files if not name.startswith(CPU_ENGINE)]
        if patch.scope == "cpu-engine" and outside:
            raise PatchError(f"{patch.name} says Scope: cpu-engine but touches {outside[0]}; its scope is core")
    return Selection(tuple(chosen), tuple(skipped))


def _patches_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.patch")) if folder.is_dir() else []


def _meant(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; it has {', '.join(known)}" if known else ""
