"""Values of definitions: CMake's words for yes and no, and lists of names. Used by options.py and backends.py."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from llamasmith.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Sequence


def truth(value: str) -> str:
    """CMake's many words for yes and no, as ON and OFF; other values as they are."""
    upper = value.upper()
    if upper in {"ON", "1", "YES", "TRUE", "Y"}:
        return "ON"
    if upper in {"OFF", "0", "NO", "FALSE", "N"}:
        return "OFF"
    return value


def check_list(option: str, given: str, allowed: Sequence[str]) -> list[str]:
    """The words of a list, each once and in the order given. Raises BuildError for one that is not allowed."""
    words = [word.strip() for word in given.replace(",", ";").split(";") if word.strip()]
    for word in words:
        if word not in allowed:
            close = difflib.get_close_matches(word.lower(), allowed, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise BuildError(f"{option} names {word!r}, which does not exist.{hint} Allowed: {', '.join(allowed)}.")
    if not words:
        raise BuildError(f"{option} is empty. Allowed: {', '.join(allowed)}.")
    return list(dict.fromkeys(words))
