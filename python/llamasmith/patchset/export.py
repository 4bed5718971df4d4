"""Work on a patch: a copy of the tree to edit, and the patch file written back from it.

``start`` lays out the tree as it is with the series up to and including the patch; a person edits it there;
``export`` takes the difference to the tree *before* the patch. ``regenerate`` does the same for a patch of the series
without a work copy: its bytes must come out as they are.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import PatchError
from .diff import parse_diff
from .header import template
from .patched import apply_selection, files_below, make_equal, selection_digest
from .pin import Pin, subset_files, verify
from .series import CPU_ENGINE, NAME, Patch, Selection, load_series, series_names
from .write import diff_files

if TYPE_CHECKING:
    import datetime
    from pathlib import Path

    from .apply import Overlay

__all__ = ["Exported", "Workshop", "full_name"]

_NOTE = ".llamasmith-work"
_LEFTOVER = re.compile(r".*(~|\.orig|\.rej|\.sw[op]|\.bak)")
_UPDATED = re.compile(rb"^Last-Update:.*$", re.MULTILINE)


def full_name(name: str) -> str:
    """A patch's file name, from what a person calls it."""
    name = name if name.endswith(".patch") else f"{name}.patch"
    if not NAME.fullmatch(name):
        raise PatchError(f"{name!r} is not a name of the form <topic>-<change>.patch in lower case")
    return name


@dataclass(frozen=True)
class Exported:
    """What an export gave: ``old`` is the file as it was (``None``: it is new), ``new`` as it should be."""

    path: Path
    old: bytes | None
    new: bytes

    @property
    def changed(self) -> bool:
        """Whether the file has to be written."""
        return self.old != self.new


@dataclass(frozen=True)
class Workshop:
    """A series, the tree that it is for, and the pin of the tree."""

    series: Path
    tree: Path
    pin: Pin

    def start(self, name: str, work: Path) -> int:
        """Make the work copy of a patch, new or of the series. Returns how many patches are applied in it."""
        if work.exists() and (not work.is_dir() or any(work.iterdir())):
            raise PatchError(f"{work} is in the way: there may be work in it. Export it, or remove it first")
        wrong = verify(self.tree, self.pin)
        if wrong:
            raise PatchError(f"{self.tree} is not the pinned llama.cpp:\n{wrong}")
        before, own = self._around(full_name(name))
        applied = (*before, *own)
        make_equal(self._overlay(applied), self.pin, work)
        note = {"patch": full_name(name), "before": selection_digest(self.pin, before)}
        (work / _NOTE).write_text(json.dumps(note) + "\n", encoding="utf-8")
        return len(applied)

    def export(self, name: str, work: Path, today: datetime.date) -> Exported:
        """The patch file as the work copy has it; nothing is written."""
        name = full_name(name)
        before, own = self._around(name)
        self._check_note(name, work, before)
        base = self._overlay(before)
        was, now = self._sides(base, work)
        diff = diff_files(was, now)
        if not diff:
            raise PatchError(f"{work} has no change to make a patch of")
        changes = parse_diff(diff, name=name)
        if own:
            head = own[0].head
            if own[0].changes != changes:
                stamp = f"Last-Update: {today.isoformat()} (pin {self.pin.commit})".encode()
                head = _UPDATED.sub(stamp, head)
        else:
            scope = "cpu-engine" if all(change.path.startswith(CPU_ENGINE) for change in changes) else "core"
            head = template(scope=scope, date=today, pin=self.pin.commit).encode()
        return Exported(self.series.parent / name, own[0].data if own else None, head + diff)

    def regenerate(self, name: str | None = None) -> list[Exported]:
        """Every patch of the series (or one) made anew from the tree before and after it."""
        result = []
        patches = load_series(self.series)
        wanted = None if name is None else full_name(name)
        if wanted is not None and all(patch.name != wanted for patch in patches):
            raise PatchError(
                f"the series has no {wanted}, and no work copy of it is there: llamasmith patches new {name}"
            )
        for count, patch in enumerate(patches):
            if wanted not in (None, patch.name):
                continue
            before, after = self._overlay(patches[:count]), self._overlay(patches[: count + 1])
            diff = diff_files(
                {path: before.read(path) for path in patch.files}, {path: after.read(path) for path in patch.files}
            )
            result.append(Exported(patch.path, patch.data, patch.head + diff))
        return result

    def write(self, exported: Exported) -> None:
        """Write the patch, and put a new one at the end of the series."""
        exported.path.write_bytes(exported.new)
        if exported.path.name not in series_names(self.series):
            text = self.series.read_text(encoding="utf-8")
            if text and not text.endswith("\n"):
                text += "\n"
            self.series.write_text(f"{text}{exported.path.name}\n", encoding="utf-8")

    def _around(self, name: str) -> tuple[tuple[Patch, ...], tuple[Patch, ...]]:
        """The patches before one, and the one itself (none, when it is new)."""
        patches = load_series(self.series)
        for count, patch in enumerate(patches):
            if patch.name == name:
                return patches[:count], (patch,)
        return patches, ()

    def _overlay(self, patches: tuple[Patch, ...]) -> Overlay:
        return apply_selection(self.tree, Selection(patches))

    def _check_note(self, name: str, work: Path, before: tuple[Patch, ...]) -> None:
        try:
            note = json.loads((work / _NOTE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise PatchError(f"{work} is not a work copy; make one with: llamasmith patches new {name}") from None
        if note.get("patch") != name:
            raise PatchError(f"{work} is the work copy of {note.get('patch')}, not of {name}")
        if note.get("before") != selection_digest(self.pin, before):
            raise PatchError(f"the pin or the patches before {name} have changed since {work} was made; make a new one")

    def _sides(self, base: Overlay, work: Path) -> tuple[dict[str, bytes | None], dict[str, bytes | None]]:
        """The files that differ, before and now."""
        names = {name for name, _ in subset_files(base.tree, self.pin.subset)} | {*base.changed}
        found = {name: path for name, path in files_below(work) if not name.startswith((".git/", ".llamasmith-"))}
        was: dict[str, bytes | None] = {}
        now: dict[str, bytes | None] = {}
        for name in sorted(names | {*found}):
            path = found.get(name)
            if path is not None and path.is_symlink():
                raise PatchError(f"{path} is a symbolic link; a patch cannot carry it")
            old, new = base.read(name), None if path is None else path.read_bytes()
            if old == new:
                continue
            if old is None and _LEFTOVER.fullmatch(name):
                raise PatchError(f"{path} looks like a leftover of a tool; remove it and export again")
            if b"\0" in (old or b"") or b"\0" in (new or b""):
                raise PatchError(f"{path} is binary; a patch can carry text only")
            was[name], now[name] = old, new
        return was, now
