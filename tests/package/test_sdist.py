"""Our source distribution: complete, exact, nothing of this machine in it, and a build from it needs no network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llamasmith.patchset.pin import STAMP, load_pin, subset_files, tree_listing

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
TREE = Path("vendor", "llama.cpp")
UNWANTED = re.compile(
    r"(^|/)(\.git|\.ci|\.venv|\.cache|\.\w+_cache|__pycache__|CMakeFiles|CMakeCache\.txt|\.lock|\.fetch-[^/]*)(/|$)"
    r"|\.(so|o|a|py[cod]|whl|gguf|egg-info)$|^(build|dist)/"
)


@pytest.fixture(scope="module")
def members(sdist: Path) -> dict[str, tarfile.TarInfo]:
    """What is in it, by the path below its one folder."""
    with tarfile.open(sdist) as tar:
        found = tar.getmembers()
    tops = {member.name.split("/")[0] for member in found}
    assert tops == {sdist.name.removesuffix(".tar.gz")}
    return {member.name.partition("/")[2]: member for member in found}


@pytest.fixture
def fetch(unpacked: Path, offline: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the unpacked vendor/fetch.py as the build does, reaching nothing."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(unpacked / "vendor" / "fetch.py"), *words]
        env = {**offline, "PYTHONPATH": str(unpacked / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=unpacked, timeout=120)

    return run


def test_nothing_of_this_machine_is_in_it(members: dict[str, tarfile.TarInfo]) -> None:
    assert [name for name in members if UNWANTED.search(name)] == []
    assert [name for name, member in members.items() if not (member.isfile() or member.isdir())] == []


def test_the_stamp_of_this_machine_is_not_in_it(members: dict[str, tarfile.TarInfo]) -> None:
    assert (TREE / STAMP).as_posix() not in members


def test_all_that_is_committed_is_in_it(members: dict[str, tarfile.TarInfo]) -> None:
    done = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=False)
    committed = [name for name in done.stdout.split("\0") if name and not name.startswith(".ci/")]
    if done.returncode != 0 or "CMakeLists.txt" not in committed:
        pytest.skip("this is no git checkout")
    assert [name for name in committed if name not in members and (ROOT / name).exists()] == []


def test_it_has_the_pinned_tree_to_the_byte(unpacked: Path) -> None:
    pin = load_pin(unpacked / "vendor" / "UPSTREAM.toml")
    assert pin.tree_digest == load_pin(ROOT / "vendor" / "UPSTREAM.toml").tree_digest
    command = [sys.executable, "-m", "llamasmith.patchset", "digest", "--tree", str(unpacked / TREE)]
    digest = subprocess.run(command, capture_output=True, text=True, check=True, cwd=unpacked.parent).stdout
    assert f'tree_digest = "{pin.tree_digest}"' in digest
    everything = {
        path.relative_to(unpacked / TREE).as_posix() for path in (unpacked / TREE).rglob("*") if path.is_file()
    }
    assert everything - {STAMP} == {name for name, _ in subset_files(unpacked / TREE, pin.subset)}
    executable = {name for name, path in subset_files(unpacked / TREE, pin.subset) if os.access(path, os.X_OK)}
    assert executable == {name for name, path in subset_files(ROOT / TREE, pin.subset) if os.access(path, os.X_OK)}


def test_it_needs_no_network(fetch: Callable[..., subprocess.CompletedProcess[str]], unpacked: Path) -> None:
    before = tree_listing(unpacked, ["."])
    for words in ([], [], ["--check"]):
        done = fetch(*words)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert "verified" in done.stdout
        assert "fetching" not in done.stdout
    changed = {name for name, sha in tree_listing(unpacked, ["."]).items() if before.get(name) != sha}
    assert {Path(name).name for name in changed} <= {STAMP}


def test_a_lost_file_is_noticed_and_nothing_is_fetched_over_it(
    fetch: Callable[..., subprocess.CompletedProcess[str]], unpacked: Path
) -> None:
    (unpacked / TREE / "LICENSE").unlink()
    done = fetch()
    assert done.returncode == 1
    assert "LICENSE: missing" in done.stderr
    assert (unpacked / TREE / "CMakeLists.txt").is_file()


def test_without_the_tree_and_without_a_network_it_says_what_to_do(
    fetch: Callable[..., subprocess.CompletedProcess[str]], unpacked: Path
) -> None:
    (unpacked / TREE).rename(unpacked.parent / "elsewhere")
    done = fetch()
    assert done.returncode == 1
    assert "LLAMASMITH_LLAMA_CPP_DIR=" in done.stderr
    assert not (unpacked / TREE).exists()
    assert fetch("--from", str(unpacked.parent / "elsewhere")).returncode == 0
