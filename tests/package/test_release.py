"""Nothing is published that is not a whole release: each reason to refuse, and that a whole one passes."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
from shipping_world import ROOT, VERSION, installed_files, row, write_wheel

from shipping.release import refusals, version_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROJECT = f'[project]\nname = "llamasmith"\nversion = "{VERSION}"\n'
CHANGES = f"# Changes\n\n## Unreleased\n\n## {VERSION} - 2026-11-25\n\n- All.\n"


def write_sdist(folder: Path, *, name: str = VERSION, inside: str = VERSION) -> Path:
    path = folder / f"llamasmith-{name}.tar.gz"
    data = f"Metadata-Version: 2.2\nName: llamasmith\nVersion: {inside}\n".encode()
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo(f"llamasmith-{name}/PKG-INFO")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return installed_files()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text(CHANGES, encoding="utf-8")
    return tmp_path


@pytest.fixture
def dist(root: Path, files: dict[str, bytes]) -> Path:
    """A whole release: the wheels of a row for two Pythons, and the source distribution."""
    folder = root / "dist"
    for python in ("cp311-cp311", "cp312-cp312"):
        write_wheel(folder, files, python=python)
    write_sdist(folder)
    return folder


@pytest.fixture
def check(root: Path, dist: Path) -> Callable[..., list[str]]:
    def run(tag: str | None = f"v{VERSION}") -> list[str]:
        return refusals(dist, [row()], root=root, tag=tag)

    return run


def the(dist: Path, python: str) -> Path:
    (path,) = dist.glob(f"*-{python}-*.whl")
    return path


def test_a_whole_release_passes(check: Callable[..., list[str]]) -> None:
    assert check() == []
    assert check(tag=None) == []


def test_a_wheel_is_missing(check: Callable[..., list[str]], dist: Path) -> None:
    the(dist, "cp312").unlink()
    assert check() == ["row 'cpu': the wheel of llamasmith for cp312 on x86_64 is missing"]


def test_the_source_distribution_is_missing(check: Callable[..., list[str]], dist: Path) -> None:
    (dist / f"llamasmith-{VERSION}.tar.gz").unlink()
    assert check() == [f"the source distribution is missing: llamasmith-{VERSION}.tar.gz"]


def test_a_source_distribution_of_another_version(check: Callable[..., list[str]], dist: Path) -> None:
    (dist / f"llamasmith-{VERSION}.tar.gz").unlink()
    write_sdist(dist, name="9.9", inside="9.9")
    assert check() == [f"llamasmith-9.9.tar.gz is llamasmith 9.9; this release is llamasmith {VERSION}"]


def test_a_source_distribution_that_lies_or_is_broken(check: Callable[..., list[str]], dist: Path) -> None:
    path = write_sdist(dist, inside="9.9")
    assert check() == [f"{path.name}: its PKG-INFO has another version than its name"]
    path.write_bytes(b"no archive")
    (line,) = check()
    assert line.startswith(f"{path.name} cannot be read")


def test_a_wheel_of_another_version(check: Callable[..., list[str]], dist: Path, files: dict[str, bytes]) -> None:
    the(dist, "cp312").unlink()
    path = write_wheel(dist, files, python="cp312-cp312", version="9.9")
    found = check()
    assert f"{path.name} is of version 9.9; this release is {VERSION}" in found
    assert f"{path.name}: its metadata has another version than 9.9" in found


def test_the_tag_is_another(check: Callable[..., list[str]]) -> None:
    assert check("v9.9") == [f"the tag is 'v9.9', and the version {VERSION}: the tag must be 'v{VERSION}'"]


@pytest.mark.parametrize(
    ("heading", "message"),
    [
        ("", "has no heading for"),
        (f"## {VERSION}", "no date"),
        (f"## {VERSION} - soon", "no date"),
        (f"## {VERSION} - 2026-13-01", "no date"),
        (f"## {VERSION}1 - 2026-11-01", "no"),
    ],
)
def test_the_changes_are_not_told(check: Callable[..., list[str]], root: Path, heading: str, message: str) -> None:
    (root / "CHANGELOG.md").write_text(f"# Changes\n\n## Unreleased\n\n{heading}\n", encoding="utf-8")
    (line,) = check()
    assert line.startswith("CHANGELOG.md")
    assert message in line
    assert f"Write: ## {VERSION} - 20" in line


def test_the_changes_may_be_written_with_brackets(check: Callable[..., list[str]], root: Path) -> None:
    (root / "CHANGELOG.md").write_text(f"## [{VERSION}] - 2026-11-25\n", encoding="utf-8")
    assert check() == []


def test_a_file_that_is_not_of_the_matrix(check: Callable[..., list[str]], dist: Path, files: dict[str, bytes]) -> None:
    (dist / "notes.txt").write_text("x", encoding="utf-8")
    odd = write_wheel(dist, files, python="cp313-cp313")
    assert check() == [
        f"{odd.name} is no wheel of the matrix. Remove it, or add its row to ci/matrix.toml",
        "notes.txt does not belong to a release. Remove it",
    ]


def test_two_wheels_for_one_place(check: Callable[..., list[str]], dist: Path, files: dict[str, bytes]) -> None:
    other = write_wheel(dist, files, platform="manylinux_2_34_x86_64")
    assert check() == [
        f"{other.name} and llamasmith-{VERSION}-cp311-cp311-manylinux_2_28_x86_64.whl are for the same: remove one",
        f"{other.name}: it is for manylinux_2_34_x86_64; the row promises manylinux_2_28",
    ]


def test_a_wheel_that_is_not_what_its_row_says(
    check: Callable[..., list[str]], dist: Path, files: dict[str, bytes]
) -> None:
    path = write_wheel(dist, {**files, "llamasmith/include/ggml.h": b"x"}, python="cp312-cp312")
    (line,) = check()
    assert line.startswith(f"{path.name}: llamasmith/include/ggml.h: no file of this kind")
    path.write_bytes(b"no archive")
    assert any(line.startswith(f"{path.name} cannot be read") for line in check())


def test_wheels_of_different_builds(check: Callable[..., list[str]], dist: Path, files: dict[str, bytes]) -> None:
    record = json.loads(files["llamasmith/build.json"])
    other = json.dumps({**record, "pin": "f" * 40}).encode()
    write_wheel(dist, {**files, "llamasmith/build.json": other}, python="cp312-cp312")
    (line,) = check()
    assert line.startswith("the wheels are of different builds of llama.cpp, by pin and tree: ")
    assert "ffffffffffff: " in line


def test_a_folder_that_is_not_there(tmp_path: Path, root: Path) -> None:
    (line,) = refusals(tmp_path / "none", [row()], root=root)
    assert line.startswith("there is no folder")


def test_the_command(tmp_path: Path) -> None:
    """With our own matrix, of which nothing is there."""
    command = [sys.executable, str(ROOT / "ci" / "release.py")]
    done = subprocess.run(
        [*command, "check", str(tmp_path), "--tag", "v0"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "the wheel of llamasmith-cuda13 for py3 on x86_64 is missing" in done.stderr
    assert "the tag is 'v0'" in done.stderr
    assert "reasons not to publish" in done.stderr
    done = subprocess.run([*command, "version"], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == version_of()
