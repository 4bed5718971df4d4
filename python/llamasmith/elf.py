"""What can be said of a shared library from its headers alone, before the loader maps it.

The loader trusts what a file says: one that is cut short ends the process with SIGBUS, at once or much later.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

__all__ = ["elf_problem"]

_MAGIC = b"\x7fELF"
_CLASS_64 = 2
_SHARED = 3  # e_type ET_DYN
_LOAD = 1  # p_type PT_LOAD
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_MACHINES = {3: "x86 (32 bit)", 40: "ARM (32 bit)", 62: "x86-64", 183: "aarch64", 243: "RISC-V"}


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEADER.size)


def _machine(head: bytes) -> int:
    return int.from_bytes(head[18:20], "little")


def elf_problem(path: Path, like: Path | None = None) -> str:
    """Why the file cannot be a shared library for this process, as the rest of a sentence; empty if it may be one.

    Args:
        like: a file for the machine that it must be for; by default this Python.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
            if not head.startswith(_MAGIC):
                return "is not a shared library (it has no ELF header)"
            if len(head) < _HEADER.size:
                return "is cut short"
            fields = _HEADER.unpack(head)
            if head[4] != _CLASS_64 or head[5] != 1:
                return "is a library for another kind of machine (not 64 bit, little endian)"
            mine = _machine(_start(like or Path(sys.executable)))
            if _machine(head) != mine:
                its = _MACHINES.get(_machine(head), f"machine {_machine(head)}")
                return f"is a library for {its}, not for {_MACHINES.get(mine, f'machine {mine}')}"
            if fields[1] != _SHARED:
                return "is an ELF file, but not a shared library"
            offset, entry, count = fields[5], fields[9], fields[10]
            if entry != _SEGMENT.size or count == 0:
                return "is damaged (its table of segments is not one)"
            file.seek(offset)
            table = file.read(entry * count)
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    if len(table) < entry * count:
        return "is cut short"
    segments = [_SEGMENT.unpack_from(table, number * entry) for number in range(count)]
    if any(kind == _LOAD and start + length > size for kind, _, start, _, _, length, _, _ in segments):
        return "is cut short"
    return ""
