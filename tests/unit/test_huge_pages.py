"""Huge pages: what asks for them, what does not, and what is said of it."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tiny_model import write_tiny_model

from llamasmith import build_info
from llamasmith.huge_pages import VARIABLE, forget, huge_pages, read_ahead

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux's pages, and its /proc")

# KiB of memory that has asked for huge pages: of the model's file, and without a file.
LOADED = """
import sys
import llamasmith
llamasmith.load_engine(sys.argv[2])
model = llamasmith.Model(sys.argv[1], load_mode=sys.argv[3], use_extra_bufts=False)
with llamasmith.Session(model, n_ctx=64, n_threads=1) as session:
    session.decode([1, 40])
asked, ours, size = {True: 0, False: 0}, None, 0
for line in open("/proc/self/smaps"):
    head = line.split()
    if "-" in head[0] and not head[0].endswith(":"):
        ours = line.rstrip().endswith(sys.argv[1]) or (False if len(head) < 6 else None)
    elif head[0] == "Size:":
        size = int(head[1])
    elif head[0] == "VmFlags:" and "hg" in head and ours is not None:
        asked[ours] += size
print(asked[True], asked[False])
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 10 MB: weights of less than 4 MiB do not ask."""
    path = tmp_path_factory.mktemp("large") / "large.gguf"
    return write_tiny_model(path, pieces=[f"word{i}" for i in range(20_000)])


def asked(run_python: Any, *words: Any, **options: Any) -> tuple[int, int]:
    result = run_python(LOADED, *words, **options)
    assert result.returncode == 0, result.stderr
    of_file, anonymous = map(int, result.stdout.split())
    return of_file, anonymous


@pytest.fixture
def given() -> None:
    if huge_pages() not in ("madvise", "always"):
        pytest.skip("Linux gives no huge pages here: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.usefixtures("given")
def test_weights_ask_for_them(large: Path, run_python: Any) -> None:
    assert asked(run_python, large, "patched", "mmap")[0] > 8000
    assert asked(run_python, large, "patched", "none")[1] > 8000


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize("mode", ["mmap", "none"])
def test_not_if_the_environment_says_no(large: Path, run_python: Any, mode: str) -> None:
    assert asked(run_python, large, "patched", mode, LLAMASMITH_HUGE_PAGES="0") == (0, 0)


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize("mode", ["mmap", "none"])
def test_pristine_engines_have_upstreams_pages(large: Path, run_python: Any, mode: str) -> None:
    if "upstream" not in build_info().engines:
        pytest.skip("the engine upstream was not built; leave it in LLAMASMITH_ENGINES")
    assert asked(run_python, large, "upstream", mode) == (0, 0)


def test_small_models_do_not_ask(tiny_path: Path, run_python: Any) -> None:
    assert asked(run_python, tiny_path, "patched", "mmap") == (0, 0)


@pytest.mark.parametrize(
    ("text", "mode"),
    [("always [madvise] never", "madvise"), ("[always] madvise never\n", "always"), ("x", None), (None, None)],
)
def test_whom_linux_gives_them(tmp_path: Path, text: str | None, mode: str | None) -> None:
    if text is not None:
        folder = tmp_path / "sys/kernel/mm/transparent_hugepage"
        folder.mkdir(parents=True)
        (folder / "enabled").write_text(text)
    assert huge_pages(tmp_path) == mode


def resident(file: Path) -> int:
    """Pages of a file that are in memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        there = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
        begin = ctypes.c_char.from_buffer(mapped)
        failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(begin)), ctypes.c_size_t(len(mapped)), there)
        del begin  # or the map cannot be closed
    assert failed == 0, os.strerror(ctypes.get_errno())
    return sum(page & 1 for page in there)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A file of 1000 pages and a bit, on a disk."""
    kind = subprocess.run(["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True, check=True).stdout
    if kind.strip() in ("tmpfs", "ramfs"):
        pytest.skip("temporary files lie in memory here; name a folder on a disk: pytest --basetemp FOLDER")
    file = tmp_path / "file"
    file.write_bytes(b"llama" * 820_000)
    assert resident(file) == 1001
    return file


def test_what_was_written_is_forgotten(written: Path) -> None:
    forget(written)
    assert resident(written) < 100  # a page that somebody else looks at just then may stay
    assert written.read_bytes() == b"llama" * 820_000


def test_a_file_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    forget(tmp_path / "missing")
    forget(tmp_path)


@pytest.mark.parametrize(("asked", "happens"), [(None, True), ("0", False)])
def test_parts_are_read_ahead(written: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None, happens: bool) -> None:
    if asked is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, asked)
    forget(written)
    size = 256 * mmap.PAGESIZE
    with written.open("rb") as file, read_ahead(file) as ahead:
        for start in range(0, 5 * size, size):  # the last part lies behind the end
            ahead(start, size)
    assert resident(written) == 1001 if happens else resident(written) < 100


def test_an_empty_file_is_read_ahead_too(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as file, read_ahead(file) as ahead:
        ahead(0, 1 << 20)
        assert file.read() == b""
