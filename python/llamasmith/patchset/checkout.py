"""Where the parts of a checkout lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import PatchError, VendorError
from .export import Workshop, full_name
from .pin import Pin, load_pin, verify

__all__ = ["Checkout", "find_checkout"]


@dataclass(frozen=True)
class Checkout:
    """A source folder of llamasmith."""

    root: Path
    pin: Pin

    @property
    def series(self) -> Path:
        """The series file."""
        return self.root / "patches" / "series"

    @property
    def tree(self) -> Path:
        """The pinned llama.cpp, if it was fetched."""
        return self.root / "vendor" / "llama.cpp"

    def work(self, name: str) -> Path:
        """Where the work copy of a patch lies unless somebody says otherwise."""
        return self.root / "build" / "patches" / full_name(name).removesuffix(".patch")

    def workshop(self) -> Workshop:
        """The series on the verified tree."""
        if not self.tree.is_dir():
            raise VendorError(f"{self.tree} is not there; fetch it with: python {self.root / 'vendor' / 'fetch.py'}")
        wrong = verify(self.tree, self.pin)
        if wrong:
            raise VendorError(f"{self.tree} is not the pinned llama.cpp:\n{wrong}\n  see vendor/README.md")
        return Workshop(self.series, self.tree, self.pin)


def find_checkout(source: Path | None = None) -> Checkout | None:
    """The checkout in a folder, or, when no folder is named, around the current one."""
    for folder in (source,) if source is not None else (Path.cwd(), *Path.cwd().parents):
        if (folder / "patches" / "series").is_file() and (folder / "vendor" / "UPSTREAM.toml").is_file():
            return Checkout(folder.resolve(), load_pin(folder / "vendor" / "UPSTREAM.toml"))
    if source is not None:
        raise PatchError(f"{source} is not a checkout of llamasmith: it has no patches/series and vendor/UPSTREAM.toml")
    return None
