"""What a backend and the libggml-base it is loaded beside must agree on: the headers that both are compiled with."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Of the tree in ggml/. Other patches of a series may differ between a core wheel and a backend wheel, these may not.
_PRIVATE = ("ggml-backend-impl.h", "ggml-common.h", "ggml-impl.h", "ggml-quants.h", "ggml-threading.h")


def digest(ggml: Path) -> str:
    """SHA-256 over names and contents of these headers."""
    state = hashlib.sha256()
    for file in [*sorted((ggml / "include").glob("*.h")), *(ggml / "src" / name for name in _PRIVATE)]:
        state.update(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n".encode())
    return state.hexdigest()
