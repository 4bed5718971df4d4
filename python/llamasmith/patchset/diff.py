"""Unified diffs, read strictly: what a patch file says, before anybody asks whether it fits a tree.

Understood: traditional headers (``---``/``+++``) and git's (``diff --git``, ``index``, modes, new and deleted
files, quoted names), several files and hunks, missing newlines at the end, CRLF content. Refused, each by name:
renames, copies, binary patches, links, paths that lead out of the tree, and anything that is cut short.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..errors import PatchError

__all__ = ["FileChange", "Hunk", "parse_diff", "split_header"]

_HUNK = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(.*)", re.DOTALL)
_NO_NEWLINE = b"\\ "
_REFUSED = {
    b"rename ": "renames a file: write it as one deleted and one new file (git diff --no-renames)",
    b"copy ": "copies a file: write it as a new file (git diff --no-renames)",
    b"similarity ": "renames or copies a file: make it with git diff --no-renames",
    b"dissimilarity ": "rewrites a file by similarity: make it with git diff --no-renames",
    b"GIT binary patch": "is a binary patch; only text can be patched",
    b"Binary files ": "is a binary patch; only text can be patched",
}
_ESCAPES = {b"n": b"\n", b"t": b"\t", b'"': b'"', b"\\": b"\\", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f"}


@dataclass(frozen=True)
class Hunk:
    """One ``@@`` block. ``lines`` are (b" ", b"-" or b"+", text with its line end, if it has one)."""

    old_start: int
    old_count: int
    new_start: int
    new_count: int
    lines: tuple[tuple[bytes, bytes], ...]

    @property
    def index(self) -> int:
        """Where it starts in the old file, counted from 0. An empty old side names the line *before* it."""
        return self.old_start if self.old_count == 0 else self.old_start - 1

    @property
    def old(self) -> list[bytes]:
        """The lines that it expects."""
        return [text for sign, text in self.lines if sign != b"+"]

    @property
    def new(self) -> list[bytes]:
        """The lines that it leaves."""
        return [text for sign, text in self.lines if sign != b"-"]

    def __str__(self) -> str:
        return f"@@ -{self.old_start},{self.old_count} +{self.new_start},{self.new_count} @@"


@dataclass(frozen=True)
class FileChange:
    """What a patch does to one file."""

    path: str
    creates: bool
    deletes: bool
    hunks: tuple[Hunk, ...]

    @property
    def changed_lines(self) -> int:
        """Lines added plus lines removed."""
        return sum(sign != b" " for hunk in self.hunks for sign, _ in hunk.lines)


def split_header(data: bytes) -> tuple[bytes, bytes]:
    """A patch file's text for people, and its diff."""
    lines = [line + b"\n" for line in data.split(b"\n")]  # bytes.splitlines would split at a lone CR too
    at = 0
    for number, line in enumerate(lines):
        follower = lines[number + 1] if number + 1 < len(lines) else b""
        if line.startswith(b"diff --git ") or (line.startswith(b"--- ") and follower.startswith(b"+++ ")):
            return data[:at], data[at:]
        at += len(line)
    return data, b""


def parse_diff(diff: bytes, *, name: str, first_line: int = 1) -> tuple[FileChange, ...]:
    """The changes of a diff. ``name`` and ``first_line`` (of the diff in its file) are for messages."""
    return _Reader(diff, name, first_line).read()


class _Reader:
    """A cursor over the lines of a diff; every complaint names the patch and the line."""

    def __init__(self, diff: bytes, name: str, first_line: int) -> None:
        self.lines = [line + b"\n" for line in diff.split(b"\n")]
        if self.lines[-1] == b"\n":
            self.lines.pop()
        self.name, self.first_line, self.at = name, first_line, 0

    def fail(self, what: str) -> PatchError:
        return PatchError(f"{self.name}, line {self.first_line + self.at}: {what}")

    def peek(self) -> bytes:
        return self.lines[self.at] if self.at < len(self.lines) else b""

    def read(self) -> tuple[FileChange, ...]:
        changes: list[FileChange] = []
        while self.at < len(self.lines):
            line = self.peek()
            if line.startswith((b"diff --git ", b"--- ")):
                change = self.file()
                if any(change.path == other.path for other in changes):
                    raise self.fail(f"{change.path} is changed twice in one patch")
                changes.append(change)
            elif line == b"-- \n":  # git format-patch signs with its version
                break
            elif line.strip():
                raise self.fail(f"neither a file nor a hunk starts here: {_shown(line)}")
            else:
                self.at += 1
        return tuple(changes)

    def file(self) -> FileChange:
        creates = deletes = False
        git_path = None
        if self.peek().startswith(b"diff --git "):
            git_path = self.git_path(self.peek()[len(b"diff --git ") :])
            self.at += 1
            while (line := self.peek()) and not line.startswith((b"--- ", b"diff --git ", b"@@", b"-- \n")):
                for start, why in _REFUSED.items():
                    if line.startswith(start):
                        raise self.fail(why)
                if line.startswith((b"new file mode ", b"deleted file mode ", b"old mode ", b"new mode ")):
                    if not line.rstrip().endswith((b"100644", b"100755")):
                        raise self.fail(f"only plain files can be patched, not links or modules: {_shown(line)}")
                    creates |= line.startswith(b"new file")
                    deletes |= line.startswith(b"deleted file")
                elif not line.startswith(b"index ") and line.strip():
                    raise self.fail(f"not understood: {_shown(line)}")
                self.at += 1
        if not self.peek().startswith(b"--- "):
            if git_path is None or not (creates or deletes):
                raise self.fail("a file without any change to its content")
            return FileChange(git_path, creates, deletes, ())
        old = self.side(b"--- ", b"a/")
        new = self.side(b"+++ ", b"b/")
        if old is None and new is None:
            raise self.fail("both sides are /dev/null")
        if old is not None and new is not None and old != new:
            raise self.fail(f"renames a file ({old} to {new}): write it as one deleted and one new file")
        path = new if new is not None else old
        assert path is not None
        if git_path is not None and git_path != path:
            raise self.fail(f"the headers name two files, {git_path} and {path}")
        hunks = []
        while self.peek().startswith(b"@@"):
            hunks.append(self.hunk())
            if len(hunks) > 1 and hunks[-1].index < hunks[-2].index + hunks[-2].old_count:
                raise self.fail(f"hunks of {path} overlap or are out of order at {hunks[-1]}")
        if not hunks:
            raise self.fail(f"{path} has no hunk")
        return FileChange(path, creates or old is None, deletes or new is None, tuple(hunks))

    def git_path(self, rest: bytes) -> str:
        rest = rest.rstrip(b"\r\n")
        if rest.startswith(b'"'):
            return self.checked(self.unquoted(rest)[0], b"a/")
        half = len(rest) // 2  # "a/NAME b/NAME": without renames both halves are one name, whatever is in it
        return self.checked(rest[:half], b"a/")

    def side(self, sign: bytes, prefix: bytes) -> str | None:
        line = self.peek()
        if not line.startswith(sign):
            raise self.fail(f"expected a line that starts with {sign.decode()!r}, found {_shown(line)}")
        rest = line[len(sign) :].rstrip(b"\r\n")
        raw = self.unquoted(rest)[0] if rest.startswith(b'"') else rest.split(b"\t")[0]
        result = None if raw == b"/dev/null" else self.checked(raw, prefix)
        self.at += 1
        return result

    def checked(self, raw: bytes, prefix: bytes) -> str:
        path = raw.removeprefix(prefix).decode("utf-8", "surrogateescape")
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\0" in path or "/".join(parts) != path:
            raise self.fail(f"the path {path!r} is not a plain path inside the tree")
        if parts[0].startswith((".git", ".llamasmith")):
            raise self.fail(f"the path {path!r} is not llama.cpp's")
        return path

    def unquoted(self, text: bytes) -> tuple[bytes, bytes]:
        """git's C-style quoting; returns the name and what follows it."""
        out, at = b"", 1
        while at < len(text) and text[at : at + 1] != b'"':
            char = text[at : at + 1]
            if char != b"\\":
                out, at = out + char, at + 1
            elif (escape := text[at + 1 : at + 2]) in _ESCAPES:
                out, at = out + _ESCAPES[escape], at + 2
            else:
                try:
                    out, at = out + bytes([int(text[at + 1 : at + 4], 8)]), at + 4
                except ValueError:
                    raise self.fail(f"a quoted name that cannot be read: {_shown(text)}") from None
        return out, text[at + 1 :]

    def hunk(self) -> Hunk:
        match = _HUNK.match(self.peek())
        if not match:
            raise self.fail(f"a hunk header that cannot be read: {_shown(self.peek())}")
        old_start, old_count, new_start, new_count = (
            int(number) if number is not None else 1 for number in match.group(1, 2, 3, 4)
        )
        header = self.at
        self.at += 1
        lines: list[tuple[bytes, bytes]] = []
        old_left, new_left = old_count, new_count
        while old_left > 0 or new_left > 0:
            line = self.peek()
            sign, text = (b" ", line) if line in (b"\n", b"\r\n") else (line[:1], line[1:])
            if line.startswith(_NO_NEWLINE):
                self.no_newline(lines)
                continue
            if sign not in (b" ", b"-", b"+") or not line:
                raise self.fail(
                    f"the hunk of line {self.first_line + header} ends too early (cut short, or edited by hand?)"
                )
            old_left -= sign != b"+"
            new_left -= sign != b"-"
            lines.append((sign, text))
            self.at += 1
        if old_left or new_left:
            raise self.fail(f"the hunk of line {self.first_line + header} has other line counts than its header says")
        if self.peek().startswith(_NO_NEWLINE):
            self.no_newline(lines)
        if self.peek()[:1] in (b" ", b"+") or (
            self.peek()[:1] == b"-" and not self.peek().startswith((b"--- ", b"-- \n"))
        ):
            raise self.fail(f"the hunk of line {self.first_line + header} has more lines than its header says")
        return Hunk(old_start, old_count, new_start, new_count, tuple(lines))

    def no_newline(self, lines: list[tuple[bytes, bytes]]) -> None:
        if not lines or not lines[-1][1].endswith(b"\n"):
            raise self.fail("a missing newline of no line")
        sign, text = lines[-1]
        lines[-1] = (sign, text[:-1])
        self.at += 1


def _shown(line: bytes) -> str:
    text = line.rstrip(b"\r\n").decode("utf-8", "replace")
    return repr(text if len(text) <= 80 else text[:77] + "...")
