"""What a worker and its parent say to each other: JSON objects, one per line.

``{"id": 1, "op": "load", ...}`` is answered by ``{"id": 1, "ok": true, "result": {...}}`` or by ``{"id": 1, "ok":
false, "error": "InvalidOption: ..."}``. The operations are ``hello``, ``load``, ``outputs``, ``measure``,
``distributions`` and ``quit``; the end of the input ends the worker as well.
"""

from __future__ import annotations

__all__ = ["PROTOCOL"]

PROTOCOL = "llamasmith.worker/2"
"""Name and version of the protocol."""
