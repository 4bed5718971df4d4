"""The patched copy in the build tree, and the record of what went into it.

The copy is made equal to (pinned tree + patches) file by file: a file with the right content is not touched, so its
time stands and ninja rebuilds only what a changed series changed; every other file is written anew, even when it
goes back to upstream's text. A stamp is removed before the first write and set after the last, so a copy that was
interrupted is never taken for a finished one.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from ..errors import PatchError, VendorError
from .apply import Overlay
from .pin import Pin, subset_files, verify
from .stamp import drop_stamp, read_stamp, write_stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from .series import Patch, Selection

    Say = Callable[[str], None]

__all__ = [
    "MARK",
    "STAMP",
    "apply_selection",
    "files_below",
    "make_copy",
    "make_equal",
    "manifest",
    "selection_digest",
    "series_digest",
    "write_manifest",
]

MARK = ".llamasmith-copy"  # says that the folder is ours, so that files which do not belong may be removed
STAMP = ".llamasmith-patched"


def apply_selection(tree: Path, selection: Selection, say: Say = lambda line: None) -> Overlay:
    """The tree with the patches applied, in memory.

    Ours must fit to the line, as long as all that come before are there; behind one that the user left out, and for
    the user's own, another line will do.
    """
    overlay = Overlay(tree)
    for patch in selection.patches:
        offsets = patch.origin != "series" or bool(selection.skipped)
        for change in patch.changes:
            overlay.apply(change, name=patch.name, offsets=offsets, say=say)
    return overlay


def selection_digest(pin: Pin, patches: Sequence[Patch]) -> str:
    """Over the tree's digest and every patch's name and bytes, in order."""
    digest: str = _digest(pin, patches).hexdigest()
    return digest


def series_digest(pin: Pin, patches: Sequence[Patch], code: Sequence[Path] = ()) -> str:
    """The same, and every file of our own code that the patches call."""
    state = _digest(pin, patches)
    for folder in code:
        if not folder.is_dir():
            raise PatchError(f"there is no code folder {folder}")
        for name, path in files_below(folder):
            content = path.read_bytes()
            state.update(f"code {len(content)} {name}\n".encode() + content)
    digest: str = state.hexdigest()
    return digest


def _digest(pin: Pin, patches: Sequence[Patch]) -> Any:
    state = hashlib.sha256(f"tree {pin.tree_digest}\n".encode())
    for patch in patches:
        state.update(f"patch {len(patch.data)} {patch.name}\n".encode() + patch.data)
    return state


def manifest(pin: Pin, selection: Selection, code: Sequence[Path] = ()) -> dict[str, Any]:
    """What the build records about its patches."""
    return {
        "pin": pin.commit,
        "tree_digest": pin.tree_digest,
        "series_digest": series_digest(pin, selection.patches, code),
        "patches": [
            {
                "name": patch.name,
                "subject": patch.subject,
                "scope": patch.scope,
                "sha256": patch.sha256,
                "origin": patch.origin,
                "files": list(patch.files),
                "changed_lines": patch.changed_lines,
            }
            for patch in selection.patches
        ],
        "skipped": list(selection.skipped),
    }


def make_copy(tree: Path, pin: Pin, selection: Selection, dest: Path, say: Say = lambda line: None) -> bool:
    """Make ``dest`` the patched tree. False when it was that already."""
    established = selection_digest(pin, selection.patches)
    if dest.is_dir() and read_stamp(dest / STAMP, files_below(dest)) == established:
        return False
    wrong = verify(tree, pin)
    if wrong:
        raise VendorError(f"{tree} is not the pinned llama.cpp:\n{wrong}\n  bring it back with: python vendor/fetch.py")
    overlay = apply_selection(tree, selection, say)
    make_equal(overlay, pin, dest)
    write_stamp(dest / STAMP, established, files_below(dest))
    return True


def make_equal(overlay: Overlay, pin: Pin, dest: Path) -> None:
    """Give ``dest`` exactly the subset of the overlay, leaving files alone that are right."""
    _claim(dest, overlay.tree)
    drop_stamp(dest / STAMP)
    wanted: dict[str, Path | None] = dict(subset_files(overlay.tree, pin.subset))
    wanted.update(dict.fromkeys(overlay.changed))
    for name, content in overlay.changed.items():
        if content is None:
            del wanted[name]
    for name, path in files_below(dest):
        if name not in wanted or path.is_symlink():
            path.unlink()
    for name, source in wanted.items():
        content = overlay.changed[name] if source is None else source.read_bytes()
        assert content is not None
        _write_if_other(dest / name, content, executable=source is not None and os.access(source, os.X_OK))


def _claim(dest: Path, tree: Path) -> None:
    """Only an empty folder, or one that we made, may be made equal: everything else in it is removed."""
    here, there = dest.resolve(), tree.resolve()
    if here == there or here in there.parents or there in here.parents:
        raise PatchError(f"the patched copy {dest} and the tree {tree} may not lie in each other")
    if dest.exists() and not (dest / MARK).is_file() and (not dest.is_dir() or any(dest.iterdir())):
        raise PatchError(
            f"{dest} is not a patched copy made by llamasmith; name an empty folder, or one that is not there"
        )
    dest.mkdir(parents=True, exist_ok=True)
    (dest / MARK).touch()


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file and link below a folder, but our own marks, in order; links are not followed."""
    found = []
    for base, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(base, name))]  # noqa: PTH114, PTH118 (hot)
        folders[:] = [name for name in folders if name not in ("__pycache__", *links)]  # upstream's build runs Python
        for name in (*names, *links):
            relative = os.path.relpath(os.path.join(base, name), folder)  # noqa: PTH118
            if relative != MARK and not relative.startswith(STAMP):
                found.append((relative.replace(os.sep, "/"), folder / relative))
    return iter(sorted(found))


def _write_if_other(path: Path, content: bytes, *, executable: bool) -> None:
    try:
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return
    except OSError:
        pass
    if path.is_dir():  # upstream's folder of an earlier pin: its files are gone already, it is empty
        path.rmdir()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.chmod(0o755 if executable else 0o644)
    temporary.replace(path)


def write_manifest(path: Path, facts: dict[str, Any]) -> None:
    """Write the record, unless it says the same already (CMake looks at its time)."""
    text = json.dumps(facts, indent=2) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
