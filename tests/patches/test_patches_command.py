"""`llamasmith patches`: the commands for people."""

from __future__ import annotations

import shutil

import pytest
from patch_house import CPU, GOOD, edit

from llamasmith.errors import PatchError, VendorError
from llamasmith.patchset.series import load_series, parse_patch


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
