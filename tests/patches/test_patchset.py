"""llamasmith.patchset: what a patch file may say, how strictly it applies, and what the copy looks like after."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llamasmith.errors import LlamaError, PatchError, VendorError
from llamasmith.patchset import patched
from llamasmith.patchset.__main__ import main
from llamasmith.patchset.apply import apply_change, split_lines
from llamasmith.patchset.check import check_series
from llamasmith.patchset.diff import parse_diff, split_header
from llamasmith.patchset.export import Workshop
from llamasmith.patchset.header import parse_header
from llamasmith.patchset.pin import Part, Pin, digest_of, parts_of, tree_listing
from llamasmith.patchset.series import load_series, parse_patch, select
from llamasmith.patchset.write import diff_file, diff_files

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


@pytest.fixture
def house(tmp_path):
    return House(tmp_path / "a house")


# -- reading


def one(diff, name="t.patch"):
    (change,) = parse_diff(diff, name=name)
    return change


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("a.c", b"1\n2\n3\n", b"1\nx\n3\n"),
        ("a.c", b"1\n", b"1"),
        ("a.c", b"1", b"1\n"),
        ("a.c", b"1", b"2"),
        ("a.c", b"1\n2", b"0\n1\n2"),
        ("a.c", b"1\r\n2\r\n", b"1\r\nx\r\n2\r\n"),
        ("a.c", b"1\r\n", b"1\n"),
        ("a.c", b"", b"new content of an empty file\n"),
        ("a.c", b"emptied\n", b""),
        ("new.c", None, b"1\n2\n"),
        ("new.c", None, b"no newline"),
        ("new.c", None, b""),
        ("old.c", b"1\n2\n", None),
        ("old.c", b"", None),
        ("with space.c", b"1\n", b"2\n"),
        ("sp ace/new b/x.c", None, b"1\n"),
        ("ünï.c", b"1\n", b"2\n"),
        ('q"uo\\te\t.c', None, b"2\n"),
        ("a.c", b"-- a/x\n", b"++ b/x\n"),
        ("a.c", b"-- \n1\n", b"-- \n2\n"),
        ("a.c", b"\n\n\n", b"\n\n"),
        ("a.c", b"form\x0cfeed\rand \xe2\x80\xa8 separators\n", b"stay\x0cin\rone \xe2\x80\xa8 line\n"),
        ("a.c", b"\xff\xfe not utf-8\n", b"\xff\xfd\n"),
    ],
)
def test_written_read_and_applied_is_the_same(path, before, after):
    change = one(diff_file(path, before, after))
    assert change.path == path
    assert (change.creates, change.deletes) == (before is None, after is None)
    assert apply_change(change, before, name="t") == after


TEXTS = st.lists(st.sampled_from([b"a", b"b", b"}", b"", b"x y ", b"\\ No", b"--- a", b"+++ b", b"@@ -1 +1 @@", b"\r"]))


@st.composite
def contents(draw):
    lines = draw(TEXTS)
    return b"".join(line + b"\n" for line in lines) + draw(st.sampled_from([b"", b"tail", b"tail\r"]))


@st.composite
def edits(draw):
    """A file and the same file after some lines were replaced, removed or put in."""
    before = draw(contents())
    lines = split_lines(before)
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(lines)))
        stop = draw(st.integers(start, min(len(lines), start + 3)))
        lines[start:stop] = [line + b"\n" for line in draw(TEXTS)][:4]
    after = b"".join(line if line.endswith(b"\n") else line + b"\n" for line in lines[:-1]) + b"".join(lines[-1:])
    return before, after


@given(edits())
def test_any_edit_survives_the_round_trip(pair):
    before, after = pair
    diff = diff_file("f", before, after)
    if before == after:
        assert diff == b""
    else:
        assert apply_change(one(diff), before, name="t") == after
        head, rest = split_header(b"Subject: x\n---\n\n" + diff)
        assert (head, rest) == (b"Subject: x\n---\n\n", diff)


@pytest.fixture(scope="module")
def git(tmp_path_factory):
    if shutil.which("git") is None:
        pytest.skip("needs git (Debian: apt-get install git)")
    folder = tmp_path_factory.mktemp("git")
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # Without the ceiling, `git apply` below another repository skips git-style patches and still returns 0.
    env |= {
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": str(folder.parent),
        "LC_ALL": "C",
    }

    def run(*args, **kwargs):
        return subprocess.run(["git", *args], cwd=folder, env=env, capture_output=True, check=False, **kwargs)

    run.folder = folder
    return run


def empty(folder):
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@given(edits())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_git_applies_what_we_write(git, pair):
    before, after = pair
    empty(git.folder)
    (git.folder / "f").write_bytes(before)
    diff = diff_file("f", before, after)
    if diff:
        result = git("apply", "-", input=diff)
        assert result.returncode == 0, (diff, result.stderr)
        assert (git.folder / "f").read_bytes() == after


@given(edits())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_we_apply_what_git_writes(git, pair):
    before, after = pair
    empty(git.folder)
    write_files(git.folder, {"a/f": before, "b/f": after})
    diff = git("diff", "--no-index", "--no-prefix", "a/f", "b/f").stdout
    if before != after:
        assert apply_change(one(diff), before, name="t") == after


def test_git_agrees_on_new_deleted_and_oddly_named_files(git):
    empty(git.folder)
    before = {"old file.c": b"1\n2", "gone/empty.c": b"", "ü\t.c": b"a\r\n"}
    after = {"new file.c": b"x", "new/empty.c": b"", "ü\t.c": b"b\r\n"}
    write_files(git.folder, before)
    diff = diff_files(before, after)
    result = git("apply", "-", input=diff)
    assert result.returncode == 0, (diff, result.stderr)
    there = {p.relative_to(git.folder).as_posix(): p.read_bytes() for p in git.folder.rglob("*") if p.is_file()}
    assert there == after
    assert {c.path: apply_change(c, before.get(c.path), name="t") for c in parse_diff(diff, name="t")} == {
        **dict.fromkeys(before),
        **after,
    }


GIT_STYLE = b"""diff --git a/x.c b/x.c
index 1111111..2222222 100644
--- a/x.c
+++ b/x.c
@@ -1,2 +1,2 @@ some function
-1
+one
 2
diff --git a/y y.c b/y y.c
old mode 100644
new mode 100755
--- a/y y.c\t
+++ b/y y.c\t
@@ -1 +1 @@
-1
+one
--
2.39.5
""".replace(b"\n--\n", b"\n-- \n")


def test_a_patch_as_git_format_patch_writes_it():
    mail = b"From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nFrom: A <a@localhost>\n"
    mail += b"Subject: [PATCH 1/2] topic: what\n\nWhy.\n---\n x.c | 2 +-\n\n" + GIT_STYLE
    head, diff = split_header(mail)
    assert [change.path for change in parse_diff(diff, name="t")] == ["x.c", "y y.c"]
    assert parse_header(head.decode()).subject == "topic: what"


GOOD = b"--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-1\n+2\n"


@pytest.mark.parametrize(
    ("diff", "words"),
    [
        (b"diff --git a/x b/y\nsimilarity index 90%\nrename from x\nrename to y\n", "renames"),
        (b"diff --git a/x b/x\nrename from x\nrename to y\n", "renames a file"),
        (b"diff --git a/x b/x\ncopy from x\ncopy to y\n", "copies a file"),
        (b"diff --git a/x b/x\nindex 1..2\nGIT binary patch\nliteral 1\n", "binary"),
        (b"diff --git a/x b/x\nBinary files a/x and b/x differ\n", "binary"),
        (b"diff --git a/x b/x\nnew file mode 120000\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+y\n", "not links"),
        (b"diff --git a/x b/x\nold mode 100644\nnew mode 100755\n", "without any change to its content"),
        (GOOD.replace(b"+++ b/x.c", b"+++ b/y.c"), "renames a file (x.c to y.c)"),
        (b"--- /dev/null\n+++ /dev/null\n@@ -1 +1 @@\n-1\n+2\n", "both sides"),
        (GOOD.replace(b"x.c", b"../x.c"), "not a plain path"),
        (GOOD.replace(b"x.c", b"y/../../x.c"), "not a plain path"),
        (GOOD.replace(b"a/x.c", b"/etc/x").replace(b"b/x.c", b"/etc/x"), "not a plain path"),
        (GOOD.replace(b"x.c", b"y//x.c"), "not a plain path"),
        (GOOD.replace(b"a/x.c", b'"a/..\\057x"').replace(b"b/x.c", b'"b/..\\057x"'), "not a plain path"),
        (GOOD.replace(b"x.c", b".git/config"), "not llama.cpp's"),
        (GOOD.replace(b"x.c", b".llamasmith-patched"), "not llama.cpp's"),
        (GOOD[:-3], "ends too early"),
        (GOOD + b"+3\n", "more lines than its header says"),
        (GOOD.replace(b"@@ -1 +1 @@", b"@@ -1,2 +1 @@"), "ends too early"),
        (GOOD.replace(b"@@ -1 +1 @@", b"@@ -1 @@"), "cannot be read"),
        (GOOD.replace(b"@@ -1 +1 @@\n-1\n+2\n", b""), "has no hunk"),
        (GOOD + GOOD, "changed twice"),
        (GOOD + b"@@ -1 +1 @@\n-1\n+2\n", "overlap or are out of order"),
        (GOOD + b"stray\n", "neither a file nor a hunk"),
        (GOOD.replace(b"-1\n", b"\\ No newline at end of file\n-1\n"), "missing newline of no line"),
    ],
)
def test_what_is_refused_is_named_with_its_line(diff, words):
    with pytest.raises(PatchError) as caught:
        parse_diff(diff, name="bad.patch", first_line=10)
    assert words in str(caught.value)
    assert str(caught.value).startswith("bad.patch, line ")


@given(st.binary(max_size=80), st.integers(0, 200))
def test_any_mutilated_patch_is_read_or_refused(noise, at):
    with_noise = GIT_STYLE[:at] + noise + GIT_STYLE[at:]
    for diff in (with_noise, GIT_STYLE[:at], noise):
        with contextlib.suppress(PatchError):
            parse_diff(split_header(diff)[1], name="t")


# -- applying


def test_a_hunk_that_does_not_fit_says_where_and_what(house):
    house.add("topic-bad.patch", edit(f"{CPU}/a.c", b"line 20\n", b"LINE 20\n").replace(b" line 18", b" line eighteen"))
    with pytest.raises(PatchError) as caught:
        house.make()
    text = str(caught.value)
    for word in (
        "topic-bad.patch does not apply",
        f"{CPU}/a.c, hunk 1 (@@ -17,7 +17,7 @@), line 18",
        r"expected: 'line eighteen\n'",
        r"found:    'line 18\n'",
    ):
        assert word in text, text


def shifted(diff, lines):
    return diff.replace(b"@@ -17,7 +17,7 @@", b"@@ -%d,7 +%d,7 @@" % (17 + lines, 17 + lines))


@pytest.mark.parametrize("lines", [-3, 2, 100])
def test_our_own_patches_are_not_searched_for(house, lines):
    house.add("topic-off.patch", shifted(edit(f"{CPU}/a.c", b"line 20\n", b"LINE 20\n"), lines))
    with pytest.raises(PatchError, match="its lines are at line 17 instead"):
        house.make()


@pytest.mark.parametrize("lines", [-3, 2, 100])
def test_a_users_patch_may_be_shifted_and_it_is_said(house, lines):
    path = house.root / "mine.patch"
    path.write_bytes(shifted(edit(f"{CPU}/a.c", b"line 20\n", b"LINE 20\n"), lines))
    said = []
    house.make(extra=[path], say=said.append)
    assert house.copy(f"{CPU}/a.c") == TREE[f"{CPU}/a.c"].replace(b"line 20\n", b"LINE 20\n")
    assert said == [f"mine.patch: {CPU}/a.c, hunk 1 applied at line 17, {-lines:+d} lines from where it says"]


def test_a_shift_to_two_places_is_refused(house):
    change = one(b"--- a/f\n+++ b/f\n@@ -9 +9 @@\n-x\n+y\n")
    with pytest.raises(PatchError, match="in 2 places, first at lines 1, 3"):
        apply_change(change, b"x\n1\nx\n", name="t", offsets=True)


@pytest.mark.parametrize(
    ("diff", "content", "words"),
    [
        (b"--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+1\n", b"", "exists already"),
        (b"--- a/f\n+++ b/f\n@@ -1 +1 @@\n-1\n+2\n", None, "does not exist in the tree"),
        (b"--- a/f\n+++ /dev/null\n@@ -1 +0,0 @@\n-1\n", b"1\n2\n", "1 lines would be left over"),
        (b"--- a/f\n+++ b/f\n@@ -3 +3 @@\n-1\n+2\n", b"1\n", "found:    the end of the file"),
        (b"--- a/f\n+++ b/f\n@@ -1 +1 @@\n-1\n+2\n", b"1", r"expected: '1\\n'"),
        (b"--- a/f\n+++ b/f\n@@ -1 +1 @@\n-1\n+2\n\\ No newline at end of file\n", b"1\nx\n", "without its end"),
    ],
)
def test_what_cannot_apply_says_why(diff, content, words):
    with pytest.raises(PatchError, match=words):
        apply_change(one(diff), content, name="t")


def test_a_link_in_the_tree_is_not_followed(house, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "x.c").write_bytes(b"1\n")
    (house.tree / "ggml" / "way").symlink_to(tmp_path / "secret")
    path = house.root / "mine.patch"
    path.write_bytes(GOOD.replace(b"x.c", b"ggml/way/x.c"))
    with pytest.raises(LlamaError, match="symbolic link"):
        house.make(extra=[path])
    assert (tmp_path / "secret" / "x.c").read_bytes() == b"1\n"


# -- the copy


def times(folder):
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*.c*")}


def test_the_copy_is_the_tree_with_the_patches(house):
    diff = edit(f"{CPU}/a.c", b"line 3\n", b"") + diff_file("src/new/x.c", None, b"new\n")
    house.add("topic-one.patch", diff + diff_file("src/llama.cpp", TREE["src/llama.cpp"], None), "Scope: core\n")
    (house.tree / "LICENSE").chmod(0o755)
    assert house.make()
    expected = dict(TREE) | {f"{CPU}/a.c": TREE[f"{CPU}/a.c"].replace(b"line 3\n", b""), "src/new/x.c": b"new\n"}
    del expected["src/llama.cpp"]
    assert tree_listing(house.dest, SUBSET) == tree_listing(write_files(house.root / "e", expected), SUBSET)
    assert os.access(house.dest / "LICENSE", os.X_OK)
    assert tree_listing(house.tree, SUBSET) == tree_listing(write_files(house.root / "t", TREE), SUBSET)


def test_the_same_series_is_not_applied_again(house):
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    assert house.make()
    before = times(house.dest)
    assert not house.make()
    assert times(house.dest) == before


def test_another_series_writes_only_what_differs(house):
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    house.make()
    for path in house.dest.rglob("*.c*"):
        os.utime(path, (1, 1))
    house.list()
    house.add("topic-two.patch", edit(f"{CPU}/b.c", b"two\r\n", b"2\r\n"))
    assert house.make()
    touched = {name for name, time in times(house.dest).items() if time != 1_000_000_000}
    assert touched == {f"{CPU}/a.c", f"{CPU}/b.c"}  # one back to upstream's text, with a new time: ninja must see it
    assert house.copy(f"{CPU}/a.c") == TREE[f"{CPU}/a.c"]


def test_a_file_edited_in_the_copy_is_put_right(house):
    house.make()
    (house.dest / f"{CPU}/a.c").write_bytes(b"edited")
    (house.dest / "src" / "stray.c").write_bytes(b"stray")
    assert house.make()
    assert house.copy(f"{CPU}/a.c") == TREE[f"{CPU}/a.c"]
    assert not (house.dest / "src" / "stray.c").exists()


def test_an_interrupted_apply_is_not_taken_for_finished(house, monkeypatch):
    house.make()
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    write = patched._write_if_other
    with monkeypatch.context() as patch:

        def stop(path, *args, **kwargs):
            if path.name == "llama.cpp":
                raise KeyboardInterrupt
            write(path, *args, **kwargs)

        patch.setattr(patched, "_write_if_other", stop)
        with pytest.raises(KeyboardInterrupt):
            house.make()
    assert not (house.dest / patched.STAMP).exists()
    assert house.make()
    assert not house.make()
    assert house.copy(f"{CPU}/a.c") == TREE[f"{CPU}/a.c"].replace(b"line 3\n", b"x\n")


def test_a_failing_patch_leaves_the_copy_as_it_was(house):
    house.make()
    before = times(house.dest)
    house.add("topic-off.patch", shifted(edit(f"{CPU}/a.c", b"line 20\n", b"x\n"), 5))
    with pytest.raises(PatchError):
        house.make()
    assert times(house.dest) == before


def test_a_folder_of_somebody_else_is_not_emptied(house):
    write_files(house.dest, {"precious.txt": b""})
    with pytest.raises(PatchError, match="not a patched copy made by llamasmith"):
        house.make()
    assert (house.dest / "precious.txt").exists()


@pytest.mark.parametrize("where", ["", "ggml", ".."])
def test_copy_and_tree_may_not_lie_in_each_other(house, where):
    house.dest = house.tree / where
    with pytest.raises(PatchError, match="may not lie in each other"):
        house.make()


def test_a_tree_that_is_not_the_pinned_one_is_refused(house):
    (house.tree / f"{CPU}/a.c").write_bytes(b"edited")
    with pytest.raises(VendorError, match=r"another content[\s\S]*fetch.py"):
        house.make()


# -- the user's choice


def test_a_skipped_patch_is_left_out_and_later_ones_may_shift(house):
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\ny\n"))
    before = TREE[f"{CPU}/a.c"].replace(b"line 3\n", b"x\ny\n")
    house.add("topic-two.patch", diff_file(f"{CPU}/a.c", before, before.replace(b"line 20\n", b"z\n")))
    assert house.make()
    said = []
    house.make(skip=["topic-one"], say=said.append)
    assert house.copy(f"{CPU}/a.c") == TREE[f"{CPU}/a.c"].replace(b"line 20\n", b"z\n")
    assert "-1 lines from where it says" in said[0]


@pytest.mark.parametrize(
    ("skip", "extra", "words"),
    [
        (["topic-on"], [], "cannot skip 'topic-on': the series has no such patch; did you mean 'topic-one.patch'"),
        (["zzz"], [], "it has topic-one.patch"),
        (["topic-one", "topic-one.patch"], [], "skipped twice"),
        ([], ["mine2.patch"], "there is no patch file .*mine2.patch; did you mean 'mine.patch'"),
        ([], ["nowhere/x.patch"], "there is no patch file"),
        ([], ["mine.patch", "mine.patch"], "in the list already"),
        ([], ["sub/topic-one.patch"], "in the list already"),
        (["topic-one"], ["sub/topic-one.patch"], "in the list already"),
        ([], ["empty.patch"], "has no diff in it"),
        ([], ["liar.patch"], "says Scope: cpu-engine but touches x.c"),
    ],
)
def test_a_wrong_choice_is_explained(house, skip, extra, words):
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    write_files(
        house.root,
        {
            "mine.patch": GOOD,
            "sub/topic-one.patch": GOOD,
            "empty.patch": b"Subject: nothing\n",
            "liar.patch": b"Scope: cpu-engine\n\n" + GOOD,
        },
    )
    with pytest.raises(PatchError, match=words):
        select(load_series(house.series), skip=skip, extra=[house.root / name for name in extra])


def test_a_patch_without_a_header_gets_what_can_be_inferred(house):
    path = house.root / "mine.patch"
    path.write_bytes(GOOD)
    patch = parse_patch(path, origin="extra")
    assert (patch.subject, patch.scope, patch.files, patch.changed_lines) == ("mine", "core", ("x.c",), 2)
    path.write_bytes(GOOD.replace(b"x.c", f"{CPU}/x.c".encode()))
    assert parse_patch(path).scope == "cpu-engine"


# -- the series in order


def replaced(old, new):
    assert old in HEADER
    return HEADER.replace(old, new)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (replaced("Subject: threading: wait otherwise\n", ""), "no Subject: line"),
        (replaced("Scope: cpu-engine\n", ""), "no Scope: field"),
        (replaced("Forwarded: no (upstream does not accept generated code)", "Forwarded:"), "no Forwarded: field"),
        (replaced("Remove-When: upstream waits so\n", ""), "no Remove-When: field"),
        (replaced("Bench: none (a test)\n", ""), "no Bench: field"),
        (replaced("Scope: cpu-engine", "Scope: gpu"), "Scope: gpu is neither cpu-engine nor core"),
        (replaced("No patch-free way: the loop is static.\n", ""), "no paragraph that starts with"),
        (replaced("2026-11-24", "2026-13-24"), "2026-13-24 is not a date"),
        (replaced(f" (pin {COMMIT})", ""), "is not of the form"),
        (replaced(COMMIT, "d" * 40), "is for pin ddddddddd, ours is ccccccccc"),
        (replaced("tests/test_wait.py", "tests/test_gone.py"), "there is no file tests/test_gone.py"),
        (replaced("none (a test)", "<path>"), "Bench: the template's words"),
    ],
)
def test_a_header_that_is_not_in_order(house, header, words):
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"), header)
    (finding,) = house.findings()
    assert words in finding


def test_a_header_in_order_has_no_findings(house):
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    folded = HEADER.replace("upstream waits so", "upstream\n  waits so").replace("test_wait.py", "test_wait.py::test_x")
    house.add("topic-two.patch", edit(f"{CPU}/b.c", b"two\r\n", b"2\r\n"), folded)
    assert house.findings() == house.findings("warning") == []
    assert load_series(house.series)[1].header.fields["Remove-When"] == "upstream waits so"


def test_check_applies_every_prefix_and_stops_where_it_breaks(house):
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    house.add("topic-two.patch", edit(f"{CPU}/a.c", b"line 4\n", b"y\n"))  # made for the tree without the first
    house.add("topic-three.patch", edit(f"{CPU}/b.c", b"two\r\n", b"2\r\n"))
    (finding,) = house.findings()
    assert finding.startswith("topic-two.patch: topic-two.patch does not apply")


def test_check_compares_series_and_folder(house):
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    house.list("# comment", "", "topic-gone.patch  # why")
    assert house.findings() == [
        "topic-one.patch: is in the folder but not in the series",
        "topic-gone.patch: is in the series but not in the folder",
    ]
    with pytest.raises(
        PatchError, match=r"topic-gone.patch, but there is no such file; did you mean 'topic-one.patch'"
    ):
        load_series(house.series)


@pytest.mark.parametrize(
    "names", [["topic-one.patch"] * 2, ["Topic-One.patch"], ["one.patch"], ["../a-b.patch"], ["a-b"]]
)
def test_a_series_file_that_is_not_in_order(house, names):
    house.list(*names)
    with pytest.raises(PatchError, match=r"twice|is not a name"):
        load_series(house.series)
    assert len(house.findings()) == 1


def test_white_space_scope_and_size(house):
    many = b"".join(b"added %d\n" % number for number in range(41))
    diff = edit(f"{CPU}/a.c", b"line 3\n", b"x \n" + many) + edit("src/llama.cpp", b"}\n", b"}\t\n")
    diff += edit(f"{CPU}/b.c", b"two\r\n", b"2\r\n") + edit(f"{CPU}/end.c", b"at the end", b"an end")
    house.add("topic-big.patch", diff)
    assert house.findings() == [
        f"topic-big.patch: Scope: cpu-engine may touch {CPU}/ only, not src/llama.cpp",
        f"topic-big.patch: adds trailing white space: {CPU}/a.c, line 3",
        "topic-big.patch: adds trailing white space: src/llama.cpp, line 2",
    ]
    assert [text.split(":")[1].split(",")[0] for text in house.findings("warning")] == [
        " changes 49 lines",
        " touches 4 files",
    ]


# -- working on patches


def test_a_new_patch_from_start_to_series(house):
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    work = house.root / "work"
    assert house.workshop.start("topic-two", work) == 1
    path = work / f"{CPU}/a.c"
    path.write_bytes(path.read_bytes().replace(b"line 4\n", b"y\n"))
    (work / "src/new.c").write_bytes(b"new\n")
    (work / "src/llama.cpp").unlink()
    exported = house.workshop.export("topic-two", work, TODAY)
    assert (exported.old, exported.changed) == (None, True)
    house.workshop.write(exported)
    assert house.series.read_text() == "topic-one.patch\ntopic-two.patch\n"
    (patch,) = load_series(house.series)[1:]
    assert patch.files == (f"{CPU}/a.c", "src/llama.cpp", "src/new.c")
    assert patch.header.fields["Scope"] == "core"
    assert any("template's words" in text for text in house.findings())  # it wants to be filled in
    house.make()
    assert tree_listing(house.dest, SUBSET) == tree_listing(work, SUBSET)


def test_an_unchanged_patch_exports_to_its_own_bytes(house):
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n") + edit(f"{CPU}/b.c", b"two\r\n", b"2\r\n"))
    house.add("topic-two.patch", diff_file("src/new.c", None, b"no newline"), HEADER.replace("cpu-engine", "core"))
    work = house.root / "work"
    house.workshop.start("topic-one", work)
    assert not house.workshop.export("topic-one", work, TODAY + datetime.timedelta(1)).changed
    assert [one.changed for one in house.workshop.regenerate()] == [False, False]


def test_a_changed_patch_gets_a_new_date_and_keeps_its_words(house):
    path = house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    work = house.root / "work"
    house.workshop.start("topic-one", work)
    (work / f"{CPU}/a.c").write_bytes(TREE[f"{CPU}/a.c"].replace(b"line 3\n", b"z\n"))
    house.workshop.write(house.workshop.export("topic-one", work, datetime.date(2027, 1, 2)))
    assert path.read_text().startswith(HEADER.replace("2026-11-24", "2027-01-02"))
    assert house.series.read_text() == "topic-one.patch\n"


def test_regenerate_brings_a_foreign_form_into_ours(house):
    ours = edit(f"{CPU}/a.c", b"line 20\n", b"x\n")
    foreign = b"diff --git a/%s/a.c b/%s/a.c\nindex 1..2 100644\n" % (CPU.encode(), CPU.encode())
    house.add("topic-one.patch", foreign + ours.replace(b"@@\n", b"@@ int function(void)\n"))
    (exported,) = house.workshop.regenerate("topic-one")
    assert exported.changed
    assert exported.new == HEADER.encode() + ours


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda house, work: None, "no change to make a patch of"),
        (lambda house, work: write_files(work, {"src/a.c.orig": b"x"}), "leftover of a tool"),
        (lambda house, work: write_files(work, {"src/a.bin": b"\0"}), "is binary"),
        (lambda house, work: (work / "src/link").symlink_to("/etc"), "symbolic link"),
        (lambda house, work: shutil.rmtree(work), "not a work copy"),
        (lambda house, work: house.add("topic-more.patch", edit(f"{CPU}/b.c", b"two", b"2")), "have changed since"),
    ],
)
def test_an_export_that_cannot_be_right_is_refused(house, spoil, words):
    work = house.root / "work"
    house.workshop.start("topic-new", work)
    spoil(house, work)
    with pytest.raises(PatchError, match=words):
        house.workshop.export("topic-new", work, TODAY)


def test_work_is_not_overwritten(house):
    house.workshop.start("topic-new", house.root / "work")
    with pytest.raises(PatchError, match="in the way"):
        house.workshop.start("topic-new", house.root / "work")
    with pytest.raises(PatchError, match="is the work copy of topic-new"):
        house.workshop.export("topic-other", house.root / "work", TODAY)
    with pytest.raises(PatchError, match="is not a name of the form"):
        house.workshop.start("Bad Name", house.root / "other")


# -- the command line that CMake calls


def apply_args(house, *more):
    given = {"tree": house.tree, "series": house.series, "dest": house.dest, "manifest": house.root / "build/m.json"}
    return ["apply", *(word for name, value in given.items() for word in (f"--{name}", str(value))), *more]


def test_apply_writes_the_record(house, capsys):
    path = house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    write_files(
        house.root, {"mine.patch": GOOD.replace(b"x.c", b"LICENSE").replace(b"\n-1", b"\n-MIT"), "code/c.c": b"1"}
    )
    mine = house.root / "mine.patch"
    args = apply_args(house, "--extra", f"{mine}", "--skip", "", "--code-dir", str(house.root / "code"))
    assert main(args) == 0
    assert "2 patches applied" in capsys.readouterr().out
    facts = json.loads((house.root / "build/m.json").read_text())
    assert (facts["pin"], facts["tree_digest"], facts["skipped"]) == (COMMIT, house.pin.tree_digest, [])
    assert facts["patches"][0] == {
        "name": "topic-one.patch",
        "subject": "threading: wait otherwise",
        "scope": "cpu-engine",
        "sha256": tree_listing(path.parent, [path.name])[path.name],
        "origin": "series",
        "files": [f"{CPU}/a.c"],
        "changed_lines": 2,
    }
    assert [facts["patches"][1][key] for key in ("name", "origin", "scope")] == ["mine.patch", "extra", "core"]
    time = (house.root / "build/m.json").stat().st_mtime_ns
    assert main(args) == 0
    assert "in place, unchanged" in capsys.readouterr().out
    assert (house.root / "build/m.json").stat().st_mtime_ns == time


def test_the_series_digest_covers_order_bytes_and_code(house):
    first = house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    house.add("topic-two.patch", edit(f"{CPU}/b.c", b"two\r\n", b"2\r\n"))
    code = write_files(house.root / "code", {"c.c": b"1"})

    def digest():
        return patched.series_digest(house.pin, load_series(house.series), [code])

    seen = [digest()]
    house.list("topic-two.patch", "topic-one.patch")
    seen.append(digest())
    first.write_bytes(b"a word more\n" + first.read_bytes())
    seen.append(digest())
    write_files(code, {"c.c": b"2"})
    seen.append(digest())
    write_files(code, {"d.c": b""})
    seen.append(digest())
    assert len({*seen}) == 5
    assert digest() == seen[-1]


def test_an_error_is_one_message_and_status_1(house, capsys):
    assert main(apply_args(house, "--skip", "nothing-here")) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("llamasmith: cannot skip 'nothing-here'")
    assert "Traceback" not in captured.err


def test_digest_prints_what_the_pin_wants(house, capsys):
    assert main(["digest", "--tree", str(house.tree)]) == 0
    out = capsys.readouterr().out
    assert f'tree_digest = "{house.pin.tree_digest}"' in out
    part: Part = house.pin.parts["ggml"]
    assert f'"ggml" = {{ files = 3, digest = "{part.digest}" }}' in out


def test_it_needs_the_standard_library_only(house):
    """In the build neither the extension nor numpy, rich or typer exist."""
    if sys.version_info < (3, 11):
        pytest.skip("tomli is a package there")
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    python = Path(__file__).resolve().parents[2] / "python"
    command = [sys.executable, "-S", "-m", "llamasmith.patchset", *apply_args(house)]
    env = {**os.environ, "PYTHONPATH": str(python), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")


# -- the command line for people


@pytest.fixture
def patches(house, monkeypatch):
    """`llamasmith patches ...` inside the checkout, on a terminal of 80 columns."""
    from typer.testing import CliRunner

    from llamasmith.cli.patches import app

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(house.tree)

    def run(*words):
        result = CliRunner().invoke(app, words)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert all(len(line.rstrip()) <= 80 or "/" in line for line in result.output.splitlines())
        return result

    return run


def test_cli_list_shows_the_checkouts_series(house, patches):
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    result = patches("list")
    assert result.exit_code == 0
    for word in ("topic-one.patch", "cpu-engine", "2", "threading: wait otherwise"):
        assert word in result.output


def test_cli_list_outside_a_checkout_shows_the_installed_build(house, patches, monkeypatch):
    import llamasmith

    class Build:
        patches = (parse_patch(house.add("topic-one.patch", GOOD), origin="series"),)

    monkeypatch.setattr(llamasmith, "build_info", Build, raising=False)
    monkeypatch.chdir(house.root.parent)
    assert "topic-one.patch" in patches("list").output
    assert "installed engine" in patches("list").output
    with pytest.raises(PatchError, match="name one with --source"):
        patches("check")
    with pytest.raises(PatchError, match="is not a checkout of llamasmith"):
        patches("list", "--source", str(house.root.parent))


def test_cli_check_tells_errors_from_warnings(house, patches):
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    assert (patches("check").exit_code, "0 errors, 0 warnings" in patches("check").output) == (0, True)
    house.add("topic-two.patch", edit(f"{CPU}/b.c", b"two\r\n", b"2\r\n"), "Subject: no [bold]header[/]\n\n")
    result = patches("check")
    assert result.exit_code == 1
    assert "no Scope: field" in result.output


def test_cli_check_without_a_tree_does_not_claim_success(house, patches, monkeypatch):
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    monkeypatch.chdir(house.root)
    shutil.rmtree(house.tree)
    result = patches("check")
    assert result.exit_code == 1
    assert "Not applied" in result.output
    with pytest.raises(VendorError, match="is not there; fetch it"):
        patches("export", "--check")


def test_cli_new_edit_export(house, patches):
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    assert patches("new", "topic-two").exit_code == 0
    path = house.root / "build/patches/topic-two" / f"{CPU}/b.c"
    path.write_bytes(path.read_bytes().replace(b"two", b"2"))
    assert patches("export", "topic-two", "--check").exit_code == 1
    assert not (house.patches / "topic-two.patch").exists()
    result = patches("export", "topic-two")
    assert result.exit_code == 0
    assert "fill in its header" in result.output
    assert [patch.name for patch in load_series(house.series)] == ["topic-one.patch", "topic-two.patch"]
    result = patches("export", "--check")
    assert (result.exit_code, result.output.count("unchanged")) == (0, 2)
    with pytest.raises(PatchError, match="no work copy of it is there"):
        patches("export", "topic-three")
