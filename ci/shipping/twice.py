"""Two builds of one thing, compared: which file differs, and where; and which name, order, time or mode."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import TYPE_CHECKING, NamedTuple

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHOWN_BYTES = 24


class Member(NamedTuple):
    """A file of an archive."""

    content: bytes
    time: object
    mode: int


def members(archive: Path) -> dict[str, Member]:
    """What is in a wheel or an sdist, in its order."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as file:
            return {
                item.filename: Member(file.read(item), item.date_time, item.external_attr >> 16)
                for item in file.infolist()
            }
    found = {}
    with tarfile.open(archive) as tar:
        for entry in tar:
            stream = tar.extractfile(entry)
            found[entry.name] = Member(stream.read() if stream else b"", entry.mtime, entry.mode)
    return found


def differences(first: Path, second: Path) -> list[str]:
    """A line for each difference; none if both have the same bytes."""
    if first.read_bytes() == second.read_bytes():
        return []
    lines = list(_inside(members(first), members(second)))
    if first.name != second.name:
        lines.insert(0, f"the names differ: {first.name}, {second.name}")
    return lines or [
        "the archives differ in what holds their files together (compression, or the archive's own fields)"
    ]


def _inside(first: dict[str, Member], second: dict[str, Member]) -> Iterator[str]:
    for name in sorted(first.keys() ^ second.keys()):
        yield f"{name}: only in the {'first' if name in first else 'second'}"
    common = [name for name in first if name in second]
    if common != [name for name in second if name in first]:
        yield "the files are in another order"
    for name in common:
        one, other = first[name], second[name]
        if one.content != other.content:
            yield f"{name}: {where(one.content, other.content)}"
        if one.time != other.time:
            yield f"{name}: its time is {one.time}, then {other.time}"
        if one.mode != other.mode:
            yield f"{name}: its mode is {one.mode:o}, then {other.mode:o}"


def where(first: bytes, second: bytes) -> str:
    """The first bytes that differ, and in a library the section they are in."""
    at = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
    start = max(0, at - 8)
    pieces = [content[start : start + SHOWN_BYTES] for content in (first, second)]
    sizes = "" if len(first) == len(second) else f"{len(first)} and {len(second)} bytes; "
    section = section_at(first, at)
    return f"{sizes}from byte {at}{f' in {section}' if section else ''}: {pieces[0]!r}, then {pieces[1]!r}"


def section_at(content: bytes, at: int) -> str:
    """The name of an ELF file's section at an offset; empty if there is none, or if it is no ELF file."""
    try:
        sections = list(ELFFile(io.BytesIO(content)).iter_sections())
    except ELFError:
        return ""
    for section in sections:
        begin = section["sh_offset"]
        if section["sh_type"] != "SHT_NOBITS" and begin <= at < begin + section["sh_size"]:
            return str(section.name)
    return ""
