"""`patches check`: headers, names, sizes, and every prefix of the series."""

from __future__ import annotations

import pytest
from patch_house import COMMIT, CPU, HEADER, edit

from llamasmith.errors import PatchError
from llamasmith.patchset.series import load_series


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
