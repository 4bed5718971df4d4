"""A checkout in small, for the tests of llamasmith.patchset."""

from __future__ import annotations

import datetime

from llamasmith.patchset import patched
from llamasmith.patchset.check import check_series
from llamasmith.patchset.diff import parse_diff
from llamasmith.patchset.export import Workshop
from llamasmith.patchset.pin import Pin, digest_of, parts_of, tree_listing
from llamasmith.patchset.series import load_series, select
from llamasmith.patchset.write import diff_file

CPU = "ggml/src/ggml-cpu"
COMMIT = "c" * 40
SUBSET = ("LICENSE", "ggml", "src")
TREE = {
    "LICENSE": b"MIT\n",
    f"{CPU}/a.c": b"".join(b"line %d\n" % number for number in range(1, 31)),
    f"{CPU}/b.c": b"one\r\ntwo\r\nthree\r\n",
    f"{CPU}/end.c": b"no newline\nat the end",
    "src/llama.cpp": b"int main() {\n}\n",
}
TODAY = datetime.date(2026, 11, 24)
HEADER = f"""Subject: threading: wait otherwise

It waits otherwise.

No patch-free way: the loop is static.

Scope: cpu-engine
Forwarded: no (upstream does not accept generated code)
Remove-When: upstream waits so
Test: tests/test_wait.py
Bench: none (a test)
Last-Update: 2026-11-24 (pin {COMMIT})

"""


GOOD = b"--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-1\n+2\n"


def one(diff, name="t.patch"):
    (change,) = parse_diff(diff, name=name)
    return change


def shifted(diff, lines):
    return diff.replace(b"@@ -17,7 +17,7 @@", b"@@ -%d,7 +%d,7 @@" % (17 + lines, 17 + lines))


def write_files(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def edit(path, old, new):
    """The diff of one replacement in a file of TREE."""
    assert TREE[path].count(old) == 1
    return diff_file(path, TREE[path], TREE[path].replace(old, new))


class House:
    """A checkout in small: a tree with its pin, a series, a folder for the copy."""

    def __init__(self, root):
        self.root = root
        self.tree = write_files(root / "vendor" / "llama.cpp", TREE)
        write_files(root, {"tests/test_wait.py": b""})
        self.patches = root / "patches"
        self.patches.mkdir()
        self.series = self.patches / "series"
        self.dest = root / "build" / "patched"
        listing = tree_listing(self.tree, SUBSET)
        parts = parts_of(listing, SUBSET)
        self.pin = Pin(
            COMMIT, "2026-10-01", "1", SUBSET, digest_of(listing), parts, (), root / "vendor" / "UPSTREAM.toml"
        )
        table = "".join(f'"{name}" = {{ files = {p.files}, digest = "{p.digest}" }}\n' for name, p in parts.items())
        self.pin.path.write_text(
            f'commit = "{COMMIT}"\ndate = "2026-10-01"\nversion = "1"\nsubset = {list(SUBSET)!r}\n'
            f'tree_digest = "{self.pin.tree_digest}"\ncarriers = []\n[parts]\n{table}'
        )
        self.list()

    def list(self, *names):
        self.series.write_text("".join(f"{name}\n" for name in names))

    def add(self, name, diff, header=HEADER):
        (self.patches / name).write_bytes(header.encode() + diff)
        with self.series.open("a") as file:
            file.write(f"{name}\n")
        return self.patches / name

    def make(self, *, skip=(), extra=(), say=lambda line: None):
        selection = select(load_series(self.series), skip=skip, extra=extra)
        return patched.make_copy(self.tree, self.pin, selection, self.dest, say)

    def copy(self, name):
        return (self.dest / name).read_bytes()

    def findings(self, level="error"):
        found = check_series(self.series, self.tree, self.pin, root=self.root)
        return [f"{finding.patch}: {finding.text}" for finding in found if finding.level == level]

    @property
    def workshop(self):
        return Workshop(self.series, self.tree, self.pin)
