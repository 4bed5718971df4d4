"""What ci/wheels.py lets into a wheel: the installed package passes, and each thing that may go wrong is named."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from shipping_world import INFO, ROOT, installed_files, row, write_wheel

from shipping.contents import Wheel, problems

if TYPE_CHECKING:
    from pathlib import Path

ENGINE = "llamasmith/engines/patched/libggml-cpu.so"


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    found = installed_files()
    if not any(name.startswith("llamasmith/lib/") for name in found):
        pytest.skip("an editable installation holds no files of a wheel")
    return found


def wrong(folder: Path, files: dict[str, bytes], **names: str) -> list[str]:
    return problems(row(), Wheel(write_wheel(folder, files, **names)), ROOT, (str(ROOT),))


def test_the_installed_package_is_right(files: dict[str, bytes], tmp_path: Path) -> None:
    assert wrong(tmp_path, files) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("llamasmith/include/ggml.h", "it is not in the sources"),
        ("llamasmith/lib/cmake/llama/llama-config.cmake", "it is not in the sources"),
        ("llamasmith/lib/libllama.a", "it is not in the sources"),
        ("llamasmith.libs/libgomp-a34b3233.so.1", "a library of the machine was copied in"),
        ("bin/llama-server", "it lies outside of llamasmith/"),
        (f"{INFO}/direct_url.json", "no file of this name belongs into the metadata"),
    ],
)
def test_a_file_that_does_not_belong(files: dict[str, bytes], tmp_path: Path, name: str, message: str) -> None:
    assert [f"{name}: {message}" in line for line in wrong(tmp_path, {**files, name: b"x"})] == [True]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("llamasmith/py.typed", "llamasmith/py.typed: it is in the sources, but not in the wheel"),
        ("llamasmith/licenses/llama.cpp.txt", "llama.cpp is compiled in, but llamasmith/licenses/llama.cpp.txt is"),
        ("llamasmith/licenses/pybind11.txt", "pybind11 is compiled in, but llamasmith/licenses/pybind11.txt is"),
        ("llamasmith/licenses/llamafile-sgemm.txt", "sgemm.cpp is compiled in, but llamasmith/licenses/llamafile"),
        (f"{INFO}/licenses/LICENSE", "/licenses/LICENSE is missing"),
        (f"{INFO}/sboms/llamasmith.cdx.json", "the bill of materials, is missing"),
        ("llamasmith/build.json", "the record of the build is missing"),
        ("llamasmith/lib/libggml-base.so", "it needs libggml-base.so, which is neither in the wheel"),
    ],
)
def test_a_file_that_is_missing(files: dict[str, bytes], tmp_path: Path, name: str, message: str) -> None:
    assert name in files
    found = wrong(tmp_path, {inner: data for inner, data in files.items() if inner != name})
    assert found
    assert any(message in line for line in found), found


def test_a_path_of_the_machine_that_built_it(files: dict[str, bytes], tmp_path: Path) -> None:
    """In any folder, and in this one."""
    for path in ("/somewhere/else/ggml.c", f"{ROOT}/vendor"):
        found = wrong(tmp_path, {**files, ENGINE: files[ENGINE] + b"\0" + path.encode() + b"\0"})
        assert [line.startswith(f"{ENGINE}: it mentions /") for line in found] == [True], found


def test_code_for_gpus_is_packed(files: dict[str, bytes], tmp_path: Path) -> None:
    if shutil.which("objcopy") is None:
        pytest.skip("needs objcopy; on Debian: apt-get install binutils")
    (tmp_path / "engine.so").write_bytes(files[ENGINE])
    (tmp_path / "code").write_bytes(b"\0/src-/template-ices/../mmq.cuh\0")
    for section, n_wrong in ((".nv_fatbin", 0), (".rodata2", 1)):
        command = ["objcopy", "--add-section", f"{section}={tmp_path / 'code'}", tmp_path / "engine.so"]
        subprocess.run([*command, tmp_path / "other.so"], check=True)
        found = wrong(tmp_path, {**files, ENGINE: (tmp_path / "other.so").read_bytes()})
        assert len(found) == n_wrong, found


def test_a_library_that_searches_elsewhere(files: dict[str, bytes], tmp_path: Path) -> None:
    assert files[ENGINE].count(b"$ORIGIN/../../lib\0") == 1
    changed = files[ENGINE].replace(b"$ORIGIN/../../lib\0", b"/usr/local/cu/lib\0")
    found = wrong(tmp_path, {**files, ENGINE: changed})
    assert found == [f"{ENGINE}: it looks for libraries in /usr/local/cu/lib, which may be anything elsewhere"]


def test_another_build_than_the_row_says(files: dict[str, bytes], tmp_path: Path) -> None:
    record = json.loads(files["llamasmith/build.json"])
    changed = {**files, "llamasmith/build.json": json.dumps({**record, "cpu": "toaster"}).encode()}
    assert wrong(tmp_path, changed) == [f"build.json says cpu 'toaster'; the row says {row().cpu!r}"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"platform": "linux_x86_64"}, "its platform is linux_x86_64: auditwheel has not repaired it"),
        ({"platform": "manylinux_2_28_aarch64"}, "its platform is manylinux_2_28_aarch64; the row is for x86_64"),
        ({"python": "cp39-cp39"}, "it is for cp39; the row has cp311, cp312"),
        ({"version": "9.9"}, "its metadata has another version than 9.9"),
        ({"name": "llamasmith_cuda13"}, "it is llamasmith-cuda13, and the row is for llamasmith"),
    ],
)
def test_a_wrong_name(files: dict[str, bytes], tmp_path: Path, names: dict[str, str], message: str) -> None:
    assert any(message in line for line in wrong(tmp_path, files, **names))


def test_a_wheel_that_is_too_large(files: dict[str, bytes], tmp_path: Path) -> None:
    wheel = Wheel(write_wheel(tmp_path, files))
    (line,) = problems(row(max_mb=0.5), wheel)
    assert line.endswith("MB; the row allows 0.5")
