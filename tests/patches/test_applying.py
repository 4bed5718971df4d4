"""How strictly a patch applies, and what is said where it does not."""

from __future__ import annotations

import pytest
from patch_house import CPU, GOOD, TREE, edit, one, shifted

from llamasmith.errors import LlamaError, PatchError
from llamasmith.patchset.apply import apply_change


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
