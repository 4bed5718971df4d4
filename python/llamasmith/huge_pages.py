"""Huge pages: whether Linux gives them to who asks, as the engine `patched` does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VARIABLE", "huge_pages", "switched_off"]

VARIABLE = "LLAMASMITH_HUGE_PAGES"
"""0 leaves the pages to llama.cpp. Read by the engine when it is loaded."""


def huge_pages(root: Path = Path("/")) -> str | None:
    """To whom Linux gives transparent huge pages: ``always``, ``madvise`` (who asks) or ``never``; None if unknown."""
    try:
        text = (root / "sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    chosen = re.search(r"\[(\w+)\]", text)
    return chosen[1] if chosen else None


def switched_off(environment: Mapping[str, str]) -> bool:
    """Whether the environment keeps the engine from asking."""
    return environment.get(VARIABLE) == "0"
