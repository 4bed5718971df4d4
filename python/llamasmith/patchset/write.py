"""Unified diffs, written: the same two texts always give the same bytes (no times, no hashes, no function names)."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from .apply import split_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["CONTEXT", "diff_file", "diff_files"]

CONTEXT = 3  # lines around a change: enough for a person to see where he is, and for `git apply` to agree with us
Opcode = tuple[str, int, int, int, int]


def diff_files(before: Mapping[str, bytes | None], after: Mapping[str, bytes | None]) -> bytes:
    """The diff of several files, sorted by path. ``None`` is a file that is not there."""
    return b"".join(diff_file(path, before.get(path), after.get(path)) for path in sorted({*before, *after}))


def diff_file(path: str, before: bytes | None, after: bytes | None) -> bytes:
    """The diff of one file; empty when both sides are equal."""
    if before == after:
        return b""
    old, new = split_lines(before or b""), split_lines(after or b"")
    raw = path.encode("utf-8", "surrogateescape")
    plain = not any(char in b'"\\' or char < 0x20 or char > 0x7E for char in raw)
    sides = [_quoted(prefix + raw, plain=plain) for prefix in (b"a/", b"b/")]
    head = b""
    if before is None or after is None:
        # git's form: `git apply` would otherwise take an emptied file for a deleted one, and an empty one has no hunk
        head = b"diff --git " + b" ".join(sides) + b"\n"
        head += b"new file mode 100644\n" if before is None else b"deleted file mode 100644\n"
        if not old and not new:
            return head
    tab = b"\t" if plain and b" " in raw else b""  # as git does: tells where a name with spaces ends
    left = b"/dev/null" if before is None else sides[0] + tab
    right = b"/dev/null" if after is None else sides[1] + tab
    return head + b"--- " + left + b"\n+++ " + right + b"\n" + b"".join(_hunks(old, new))


def _quoted(name: bytes, *, plain: bool) -> bytes:
    if plain:
        return name
    special = {ord("\n"): b"\\n", ord("\t"): b"\\t", ord("\r"): b"\\r", ord('"'): b'\\"', ord("\\"): b"\\\\"}
    escaped = (special.get(char) or (b"%c" % char if 0x20 <= char <= 0x7E else b"\\%03o" % char) for char in name)
    return b'"' + b"".join(escaped) + b'"'


def _opcodes(old: list[bytes], new: list[bytes]) -> list[Opcode]:
    """Like difflib's, on what lies between the equal ends: its cost is quadratic in the lines that it looks at."""
    head, most = 0, min(len(old), len(new))
    while head < most and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < most - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    middle = SequenceMatcher(None, old[head : len(old) - tail], new[head : len(new) - tail], autojunk=False)
    codes: list[Opcode] = [("equal", 0, head, 0, head)]
    codes += [(tag, i1 + head, i2 + head, j1 + head, j2 + head) for tag, i1, i2, j1, j2 in middle.get_opcodes()]
    codes.append(("equal", len(old) - tail, len(old), len(new) - tail, len(new)))
    return _slid_down([code for code in codes if code[1] < code[2] or code[3] < code[4]], old, new)


def _slid_down(codes: list[Opcode], old: list[bytes], new: list[bytes]) -> list[Opcode]:
    """Where lines added (or removed) could as well begin further down, they do: what git chooses, and so do we."""
    merged: list[Opcode] = []
    for code in codes:  # the trimmed ends are neighbours of difflib's own equal blocks
        if merged and code[0] == merged[-1][0] == "equal":
            tag, i1, _, j1, _ = merged.pop()
            code = (tag, i1, code[2], j1, code[4])
        merged.append(code)
    for at in range(1, len(merged) - 1):
        (_, h1, h2, k1, k2), (tag, i1, i2, j1, j2), (after, l1, l2, m1, m2) = merged[at - 1 : at + 2]
        if tag not in ("insert", "delete") or merged[at - 1][0] != "equal" or after != "equal":
            continue
        lines, start, stop = (new, j1, j2) if tag == "insert" else (old, i1, i2)
        steps = 0
        while steps < l2 - l1 - 1 and lines[start + steps] == lines[stop + steps]:
            steps += 1
        merged[at - 1] = ("equal", h1, h2 + steps, k1, k2 + steps)
        merged[at] = (tag, i1 + steps, i2 + steps, j1 + steps, j2 + steps)
        merged[at + 1] = ("equal", l1 + steps, l2, m1 + steps, m2)
    return merged


def _groups(codes: list[Opcode]) -> Iterator[list[Opcode]]:
    """The changes, gathered into hunks with their context."""
    group: list[Opcode] = []
    for tag, i1, i2, j1, j2 in codes:
        if tag != "equal":
            group.append((tag, i1, i2, j1, j2))
            continue
        if group and i2 - i1 > 2 * CONTEXT:
            yield [*group, (tag, i1, i1 + CONTEXT, j1, j1 + CONTEXT)]
            group = []
        if not group:
            i1, j1 = max(i1, i2 - CONTEXT), max(j1, j2 - CONTEXT)
        group.append((tag, i1, i2, j1, j2))
    if any(tag != "equal" for tag, *_ in group):
        tag, i1, i2, j1, j2 = group[-1]
        if tag == "equal":
            group[-1] = (tag, i1, min(i2, i1 + CONTEXT), j1, min(j2, j1 + CONTEXT))
        yield group


def _hunks(old: list[bytes], new: list[bytes]) -> Iterator[bytes]:
    for group in _groups(_opcodes(old, new)):
        (_, i1, _, j1, _), (_, _, i2, _, j2) = group[0], group[-1]
        yield b"@@ -%s +%s @@\n" % (_range(i1, i2), _range(j1, j2))
        for tag, a, b, c, d in group:
            if tag == "equal":
                yield from (_line(b" ", text) for text in old[a:b])
            else:
                yield from (_line(b"-", text) for text in old[a:b])
                yield from (_line(b"+", text) for text in new[c:d])


def _range(start: int, stop: int) -> bytes:
    count = stop - start
    if count == 1:
        return b"%d" % (start + 1)
    return b"%d,%d" % (start + (count > 0), count)


def _line(sign: bytes, text: bytes) -> bytes:
    return sign + text if text.endswith(b"\n") else sign + text + b"\n\\ No newline at end of file\n"
