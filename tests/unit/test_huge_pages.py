"""Huge pages: what asks for them, what does not, and what is said of it."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path
from typing import Any

import pytest
from page_cache import need_disk, resident
from tiny_model import write_tiny_model

from llamasmith import build_info
from llamasmith.huge_pages import VARIABLE, chunks, forget, huge_pages

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


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A file of 1000 pages and a bit, on a disk."""
    need_disk(tmp_path)
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


def flags_of(file: Path) -> list[str]:
    """Linux's flags of what this process has mapped of a file; hg: huge pages are asked for."""
    flags, ours = [], False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if not line.split()[0].endswith(":"):
            ours = line.endswith(str(file))
        elif ours and line.startswith("VmFlags:"):
            flags += line.split()[1:]
    return flags


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize(("asked", "huge"), [(None, True), ("0", False)])
def test_a_file_is_read_as_the_engine_reads_it(
    written: Path, monkeypatch: pytest.MonkeyPatch, asked: str | None, huge: bool
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if asked is not None:
        monkeypatch.setenv(VARIABLE, asked)
    content = b""
    with written.open("rb") as file:
        for chunk in chunks(file, 256 * mmap.PAGESIZE):
            content += chunk
            assert ("hg" in flags_of(written)) == huge
    assert content == b"llama" * 820_000
    assert flags_of(written) == []


def test_an_empty_file_has_no_chunks(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as file:
        assert list(chunks(file, 1 << 20)) == []
