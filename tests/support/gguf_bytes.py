"""GGUF files byte by byte, so that they may be wrong in any way. The package `gguf` writes only sound ones."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

# Types of values, as the format numbers them.
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}
ALIGNMENT = 32


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def scalar(kind: int, value: float | str | bytes) -> bytes:
    if isinstance(value, str | bytes):
        return text(value)
    return struct.pack("<" + FORMATS[kind], value)


@dataclass(frozen=True)
class Value:
    """One of the metadata: its type's number and its bytes."""

    kind: int
    raw: bytes


def number(value: int, kind: int = U32) -> Value:
    return Value(kind, scalar(kind, value))


def real(value: float) -> Value:
    return Value(F32, scalar(F32, value))


def flag(value: bool) -> Value:
    return Value(BOOL, scalar(BOOL, value))


def words(value: str | bytes) -> Value:
    return Value(STRING, text(value))


def array(kind: int, values: list[int] | list[float] | list[str] | list[bytes], *, claim: int | None = None) -> Value:
    """`claim`: the number of elements that the file says it has."""
    head = struct.pack("<IQ", kind, len(values) if claim is None else claim)
    return Value(ARRAY, head + b"".join(scalar(kind, value) for value in values))


@dataclass(frozen=True)
class Tensor:
    """What the file says of a tensor; `data` follows in the order of the tensors."""

    name: str | bytes
    shape: tuple[int, ...]
    kind: int = 0
    data: bytes = b""
    offset: int | None = None  # where it really is, unless given


@dataclass(frozen=True)
class File:
    """A GGUF file. Keys may come twice."""

    meta: tuple[tuple[str | bytes, Value], ...]
    tensors: tuple[Tensor, ...] = ()
    version: int = 3
    n_keys: int | None = None
    n_tensors: int | None = None
    alignment: int = field(default=ALIGNMENT)

    def put(self, key: str, value: Value) -> File:
        """With this value, in place of one or at the end."""
        if all(name != key for name, _ in self.meta):
            return replace(self, meta=(*self.meta, (key, value)))
        return replace(self, meta=tuple((name, value if name == key else old) for name, old in self.meta))

    def without(self, key: str) -> File:
        return replace(self, meta=tuple((name, value) for name, value in self.meta if name != key))

    def header(self) -> bytes:
        """All before the tensors' data."""
        n_keys = len(self.meta) if self.n_keys is None else self.n_keys
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        parts = [b"GGUF", struct.pack("<IQQ", self.version, n_tensors, n_keys)]
        for name, value in self.meta:
            parts += [text(name), struct.pack("<I", value.kind), value.raw]
        place = 0
        for tensor in self.tensors:
            offset = place if tensor.offset is None else tensor.offset
            dims = struct.pack(f"<I{len(tensor.shape)}q", len(tensor.shape), *tensor.shape)
            parts += [text(tensor.name), dims, struct.pack("<IQ", tensor.kind & 0xFFFFFFFF, offset)]
            place += -(-len(tensor.data) // self.alignment) * self.alignment
        return b"".join(parts)

    def content(self) -> bytes:
        out = bytearray(self.header())
        for tensor in self.tensors:
            out += bytes(-len(out) % self.alignment)
            out += tensor.data
        return bytes(out + bytes(-len(out) % self.alignment))
