"""Patches left out, and patches of the user's own."""

from __future__ import annotations

import pytest
from patch_house import CPU, GOOD, TREE, edit, write_files

from llamasmith.errors import PatchError
from llamasmith.patchset.series import load_series, parse_patch, select
from llamasmith.patchset.write import diff_file


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
