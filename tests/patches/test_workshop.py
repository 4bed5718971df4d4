"""From a new patch to the series: edit, export, regenerate."""

from __future__ import annotations

import datetime
import shutil

import pytest
from patch_house import CPU, HEADER, SUBSET, TODAY, TREE, edit, write_files

from llamasmith.errors import PatchError
from llamasmith.patchset.pin import tree_listing
from llamasmith.patchset.series import load_series
from llamasmith.patchset.write import diff_file


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
