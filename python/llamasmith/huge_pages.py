"""Huge pages: whether Linux gives them to who asks, as the engine `patched` does, and files that lie in them."""

from __future__ import annotations

import mmap
import os
import re
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .threads.files import read

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["VARIABLE", "chunks", "forget", "huge_pages"]

VARIABLE = "LLAMASMITH_HUGE_PAGES"
"""0 leaves the pages to llama.cpp. Read by the engine when it is loaded."""

_MADV_POPULATE_READ = 22  # Linux 5.14; not in every Python's mmap


def huge_pages(root: Path = Path("/")) -> str | None:
    """To whom Linux gives transparent huge pages: ``always``, ``madvise`` (who asks) or ``never``; None if unknown."""
    chosen = re.search(r"\[(\w+)\]", read(root / "sys/kernel/mm/transparent_hugepage/enabled"))
    return chosen[1] if chosen else None


def forget(file: Path) -> None:
    """Lets Linux forget what it holds in memory of a file that was just written: small pages, since it is written so.

    The engine reads it anew, into huge ones.
    """
    with suppress(OSError, AttributeError), file.open("rb") as written:  # AttributeError: not Linux
        os.fsync(written.fileno())  # what is not on the disk yet is not forgotten
        os.posix_fadvise(written.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """What is in a file from its beginning, `size` bytes at a time, read into memory as the engine reads it.

    Else reading leaves it in small pages, and the engine takes what is there. `size` is a multiple of a page.
    Where Linux refuses, it is an ordinary reading.
    """
    with ExitStack() as stack:
        mapped = None
        with suppress(OSError, ValueError, AttributeError):  # AttributeError: not Linux; ValueError: an empty file
            if os.environ.get(VARIABLE) != "0":
                mapped = stack.enter_context(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
                mapped.madvise(mmap.MADV_HUGEPAGE)
        begin = 0
        while True:
            if mapped is not None and begin < len(mapped):
                with suppress(OSError):  # a file that was cut short meanwhile, or an older kernel
                    mapped.madvise(_MADV_POPULATE_READ, begin, min(size, len(mapped) - begin))
            chunk = file.read(size)
            if not chunk:
                return
            begin += len(chunk)
            yield chunk
