"""States of sessions as bytes: the memory, and the tokens that it is of."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from .errors import InvalidState

__all__ = ["pack", "unpack"]

# Magic, number of tokens, checksum of the tokens. The memory behind them has a checksum of its own.
_HEAD = struct.Struct("<8sQI")
_MAGIC = b"smithS1\0"


def pack(tokens: list[int], memory: bytes) -> bytes:
    """The bytes of a session."""
    ids = np.asarray(tokens, dtype="<i4").tobytes()
    return _HEAD.pack(_MAGIC, len(tokens), zlib.crc32(ids)) + ids + memory


def unpack(state: bytes) -> tuple[list[int], bytes]:
    """Tokens and memory. Raises InvalidState."""
    if not isinstance(state, (bytes, bytearray, memoryview)):
        raise TypeError(f"The state must be bytes, not {type(state).__name__}.")
    state = bytes(state)
    if len(state) < _HEAD.size or state[: len(_MAGIC)] != _MAGIC:
        raise InvalidState("These bytes are no state of a session: they do not begin as save_state() writes them.")
    _, n, checksum = _HEAD.unpack_from(state)
    ids = state[_HEAD.size : _HEAD.size + 4 * n] if n <= len(state) // 4 else b""
    if len(ids) != 4 * n or zlib.crc32(ids) != checksum:
        raise InvalidState("The state of the session is damaged, or cut short: its tokens do not match their checksum.")
    tokens: list[int] = np.frombuffer(ids, dtype="<i4").tolist()
    return tokens, state[_HEAD.size + len(ids) :]
