"""What a patch file may say, and what is refused."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from patch_house import GOOD, one, write_files

from llamasmith.errors import PatchError
from llamasmith.patchset.apply import apply_change, split_lines
from llamasmith.patchset.diff import parse_diff, split_header
from llamasmith.patchset.header import parse_header
from llamasmith.patchset.write import diff_file, diff_files


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
