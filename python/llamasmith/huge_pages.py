"""Huge pages: whether Linux gives them to who asks, as the engine `patched` does."""

from __future__ import annotations

import re
from pathlib import Path

from .threads.files import read

__all__ = ["VARIABLE", "huge_pages"]

VARIABLE = "LLAMASMITH_HUGE_PAGES"
"""0 leaves the pages to llama.cpp. Read by the engine when it is loaded."""


def huge_pages(root: Path = Path("/")) -> str | None:
    """To whom Linux gives transparent huge pages: ``always``, ``madvise`` (who asks) or ``never``; None if unknown."""
    chosen = re.search(r"\[(\w+)\]", read(root / "sys/kernel/mm/transparent_hugepage/enabled"))
    return chosen[1] if chosen else None
