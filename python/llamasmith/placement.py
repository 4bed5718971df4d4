"""Where a pool's threads run, as a user asks for it: checked before it reaches native code."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Set
from itertools import groupby
from pathlib import Path
from typing import SupportsIndex

from .errors import InvalidOption
from .threads.files import cpu_list, read

__all__ = ["check_urgency", "counted", "cpu_ids", "cpu_text", "one_each"]

# ggml's masks have room for as many CPUs as its pools for threads (GGML_MAX_N_THREADS).
MAX_CPUS = 512
_HOW = "Give ints, or a list like '0-3,8'"


def cpu_ids(cpus: str | Iterable[SupportsIndex]) -> tuple[int, ...]:
    """The CPUs in the order given, each of them one that this process may use. Raises InvalidOption."""
    allowed = _own_cpus()
    if not allowed:
        raise InvalidOption("cpus is given, but this system does not bind threads to CPUs. Leave it out.")
    ids: dict[int, None] = {}  # a set that keeps the order
    values = _listed(cpus) if isinstance(cpus, str) else _given(cpus)
    for cpu in sorted(values) if isinstance(cpus, Set) else values:
        if cpu in ids:
            raise InvalidOption(f"cpus names CPU {cpu} twice. Name each CPU once.")
        if cpu not in allowed:
            raise InvalidOption(f"cpus names CPU {cpu}, {_why_not(cpu)} Allowed: {cpu_text(allowed)}.")
        if cpu >= MAX_CPUS:
            raise InvalidOption(f"cpus names CPU {cpu}; llama.cpp knows 0 to {MAX_CPUS - 1}. Name others.")
        ids[cpu] = None
    if not ids:
        raise InvalidOption(f"cpus is empty. {_HOW}; leave it out for wherever the system puts threads.")
    return tuple(ids)


def one_each(n_threads: int, cpus: tuple[int, ...], named: bool) -> tuple[int, ...]:
    """The CPUs of as many threads that are bound to one each; `named` by the user or not. Raises InvalidOption."""
    if n_threads > len(cpus):
        whose = "" if named else ", those of the thread budget"
        raise InvalidOption(
            f"strict=True binds each thread to a CPU of its own: {n_threads} threads do not fit on CPUs "
            f"{cpu_text(cpus)}{whose}. Use at most {len(cpus)}, or name more in cpus."
        )
    return cpus[:n_threads]


def check_urgency(priority: str, n_threads: int, cpus: tuple[int, ...] | None) -> None:
    """Raises InvalidOption for more real-time threads than CPUs."""
    # They do not take turns: one that waits would for ever keep the CPU of the one that it waits for.
    room = _own_cpus() if cpus is None else cpus
    if priority not in ("low", "normal") and n_threads > len(room) > 0:
        raise InvalidOption(
            f"priority is {priority!r}, for {n_threads} threads on {counted(len(room), 'CPU')} ({cpu_text(room)}): "
            f"they give their CPU to nobody, and would wait for each other for ever. Use at most {len(room)} threads, "
            f"or a lower priority."
        )


def cpu_text(cpus: Iterable[int]) -> str:
    """``0-3,8``, as the kernel writes it."""
    parts = []
    for _, run in groupby(enumerate(sorted(cpus)), key=lambda one: one[1] - one[0]):
        found = [cpu for _, cpu in run]
        parts.append(str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}")
    return ",".join(parts)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _own_cpus() -> frozenset[int]:
    """The logical CPUs that the calling thread may run on; none where the system does not bind threads to CPUs."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def _given(cpus: Iterable[SupportsIndex]) -> Iterator[int]:
    if isinstance(cpus, (bytes, bytearray)) or not isinstance(cpus, Iterable):
        raise InvalidOption(f"cpus is {_short(cpus)}. {_HOW}.")
    yield from map(_whole, cpus)


def _whole(cpu: SupportsIndex) -> int:
    try:
        return operator.index(cpu)
    except TypeError:
        raise InvalidOption(f"cpus has {_short(cpu)}, which is no whole number. {_HOW}.") from None


def _listed(text: str) -> Iterator[int]:
    for part in text.split(",") if text.strip() else ():
        low, dash, high = (word.strip() for word in part.partition("-"))
        if not _is_number(low) or (dash and not _is_number(high)):
            raise InvalidOption(f"cpus is {_short(text)}, where {_short(part)} is no number and no range. {_HOW}.")
        first, last = int(low), int(high or low)
        if last < first:
            raise InvalidOption(f"cpus is {_short(text)}, where {_short(part)} runs backwards. {_HOW}.")
        yield from range(first, last + 1)


def _is_number(word: str) -> bool:
    # Python refuses to read numbers of thousands of digits.
    return word.isdecimal() and word.isascii() and len(word) < 20


def _why_not(cpu: int) -> str:
    if cpu in cpu_list(read(Path("/sys/devices/system/cpu/online"))):
        return "which this process may not use (taskset, cpuset)."
    return "which this machine does not have."


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
