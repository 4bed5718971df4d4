"""The patched copy: what is in it, when it is written, and what is never overwritten."""

from __future__ import annotations

import os

import pytest
from patch_house import CPU, SUBSET, TREE, edit, shifted, write_files

from llamasmith.errors import PatchError, VendorError
from llamasmith.patchset import patched
from llamasmith.patchset.pin import tree_listing
from llamasmith.patchset.write import diff_file


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
