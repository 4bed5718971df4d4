"""The pin: which llama.cpp tree is the right one, and how a tree proves that it is that one.

The digest is the SHA-256 of a listing with one line a file, ``<sha256 of the content>  <path>\\n``, sorted by the
bytes of the path (``/`` between folders). File modes and times do not count: archives, checkouts and umasks differ
in them. Every file below the subset counts, so a forgotten backup copy is a different tree.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import VendorError
from .stamp import read_stamp, write_stamp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = [
    "STAMP",
    "Part",
    "Pin",
    "difference",
    "digest_of",
    "inside",
    "load_pin",
    "parts_of",
    "stamped_digest",
    "subset_files",
    "tree_listing",
    "verify",
]

STAMP = ".llamasmith-verified"

# What editors, patch tools and Python leave behind; used to explain a mismatch, never to overlook a file.
_DROPPINGS = ("~", ".orig", ".rej", ".swp", ".swo", ".bak", ".pyc", ".DS_Store")


@dataclass(frozen=True)
class Part:
    """One entry of the subset: how many files it has, and their digest."""

    files: int
    digest: str


@dataclass(frozen=True)
class Pin:
    """What ``vendor/UPSTREAM.toml`` says."""

    commit: str
    date: str
    version: str
    subset: tuple[str, ...]
    tree_digest: str
    parts: Mapping[str, Part]
    carriers: tuple[Mapping[str, Any], ...]
    path: Path

    @property
    def files(self) -> int:
        """Number of files in the subset."""
        return sum(part.files for part in self.parts.values())

    def carrier(self, kind: str) -> Mapping[str, Any]:
        """The carrier of a kind (``index`` or ``git``)."""
        for carrier in self.carriers:
            if carrier["kind"] == kind:
                return carrier
        raise VendorError(f"{self.path} names no carrier of kind {kind!r}")


def load_pin(path: Path, *, tests: bool = False, vocabs: bool = False) -> Pin:
    """Read ``UPSTREAM.toml``; with `tests` or `vocabs` the pin is that of upstream's own, of the same commit."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        if tests or vocabs:
            data |= data["tests" if tests else "vocabs"]
        return Pin(
            commit=data["commit"],
            date=str(data["date"]),
            version=data["version"],
            subset=tuple(data["subset"]),
            tree_digest=data["tree_digest"],
            parts={name: Part(entry["files"], entry["digest"]) for name, entry in data["parts"].items()},
            carriers=tuple(data["carriers"]),
            path=path,
        )
    except OSError as error:
        raise VendorError(f"the pin cannot be read: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise VendorError(f"{path} is not a pin: {type(error).__name__}: {error}") from error


def subset_files(tree: Path, subset: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Every file of the subset as (path with ``/``, absolute path), unordered. A missing entry yields nothing."""
    stack = [(entry, tree / entry) for entry in subset]
    while stack:
        name, path = stack.pop()
        if path.is_symlink():
            raise VendorError(f"{path} is a symbolic link; the pinned tree has none. Use an unaltered llama.cpp")
        if path.is_dir():
            with os.scandir(path) as entries:
                stack += [(f"{name}/{entry.name}", Path(entry.path)) for entry in entries]
        elif path.exists():
            yield name, path


def inside(tree: Path, name: str) -> Path:
    """The path of a file of the tree; a link on the way, which could lead out of it, is refused."""
    path = tree
    for step in name.split("/"):
        path = path / step
        if path.is_symlink():
            raise VendorError(f"{path} is a symbolic link; the pinned tree has none. Use an unaltered llama.cpp")
    return path


def tree_listing(tree: Path, subset: Iterable[str]) -> dict[str, str]:
    """Path -> SHA-256 of the content, for every file of the subset."""
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in subset_files(tree, subset)}


def digest_of(listing: Mapping[str, str]) -> str:
    """The tree digest of a listing."""
    state = hashlib.sha256()
    for name in sorted(listing, key=os.fsencode):
        state.update(f"{listing[name]}  {name}\n".encode("utf-8", "surrogateescape"))
    return state.hexdigest()


def parts_of(listing: Mapping[str, str], subset: Iterable[str]) -> dict[str, Part]:
    """The listing's digest, entry by entry of the subset: tells where two trees differ."""
    parts = {}
    for entry in subset:
        own = {name: sha for name, sha in listing.items() if name == entry or name.startswith(entry + "/")}
        parts[entry] = Part(len(own), digest_of(own))
    return parts


def difference(pin: Pin, listing: Mapping[str, str]) -> str:
    """Why a tree is not the pinned one, in lines for a person; empty when it is."""
    found = digest_of(listing)
    if found == pin.tree_digest:
        return ""
    lines = [
        f"  expected digest  {pin.tree_digest}  ({pin.files} files, llama.cpp {pin.commit[:9]} of {pin.date})",
        f"  found digest     {found}  ({len(listing)} files)",
    ]
    for name, part in parts_of(listing, pin.subset).items():
        wanted = pin.parts.get(name)
        if wanted is None or part == wanted:
            continue
        if part.files == 0:
            lines.append(f"  {name}: missing")
        elif part.files == wanted.files:
            lines.append(f"  {name}: {part.files} files, but at least one has another content")
        else:
            lines.append(f"  {name}: {part.files} files instead of {wanted.files}")
    odd = sorted(name for name in listing if name.endswith(_DROPPINGS))
    if odd:
        lines.append(f"  these look like leftovers of a tool, remove them: {', '.join(odd[:5])}")
    return "\n".join(lines)


def stamped_digest(tree: Path, pin: Pin) -> str | None:
    """The tree digest that was established here earlier, if no file was touched since."""
    return read_stamp(tree / STAMP, subset_files(tree, pin.subset))


def verify(tree: Path, pin: Pin, *, stamped: bool = True) -> str:
    """Empty when the tree is the pinned one, else why it is not. A tree that was hashed is stamped."""
    if stamped and stamped_digest(tree, pin) == pin.tree_digest:
        return ""
    wrong = difference(pin, tree_listing(tree, pin.subset))
    if not wrong:
        write_stamp(tree / STAMP, pin.tree_digest, subset_files(tree, pin.subset))
    return wrong
