"""ci/matrix.toml, and what a wrong one is answered with."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from shipping_world import ROOT

from llamasmith import build_info
from shipping.matrix import CORE, MatrixError, choose, load

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
[defaults]
policy = "manylinux_2_28"
tests = ["import"]

[[row]]
name = "cpu"
distribution = "llamasmith"
arch = "x86_64"
pythons = ["3.11"]
cpu = "baseline"
engines = ["patched"]
backends = ["cpu"]
max_mb = 25

[[row]]
name = "cuda"
distribution = "llamasmith-cuda13"
arch = "x86_64"
pythons = ["py3"]
backends = ["cuda"]
cuda = { major = 13, toolkit = "13.0", architectures = ["90"] }
max_mb = 60
exclude = ["libggml-base.so"]
with = ["cpu"]
"""

WRONG = [
    ('name = "cpu"\n', 'name = "cpu"\nsize = 3\n', r"row 'cpu': unknown key 'size'\. Keys: name, distribution"),
    ("max_mb = 25", "max_md = 25", r"unknown key 'max_md'\. Did you mean 'max_mb'\?"),
    ("max_mb = 25", "", r"row 'cpu': the key 'max_mb' is missing"),
    ("max_mb = 25", 'max_mb = "25"', r"max_mb is '25'\. It must be of type int or float"),
    ("max_mb = 25", "max_mb = 0", r"max_mb is 0\. It must be more than 0"),
    ("max_mb = 25", "max_mb = true", r"max_mb is True\."),
    ("[defaults]", "[default]", r"the file: unknown key 'default'\. Did you mean 'defaults'\?"),
    ('name = "cuda"', 'name = "cpu"', r"two rows are named 'cpu'"),
    ('cpu = "baseline"', 'cpu = "dispach"', r"cpu is or has 'dispach'\. Did you mean 'dispatch'\? Allowed: native"),
    ('cpu = "baseline"', 'cpu = "native"', r"'native', which runs on no other machine: set release = false"),
    ('cpu = "baseline"\n', "", r"needs cpu, engines, and cpu among its backends"),
    ('pythons = ["3.11"]', 'pythons = ["py3"]', r"pythons is \['py3'\]\. It must name versions"),
    ('pythons = ["3.11"]', 'pythons = ["3.11", "3.11"]', r"pythons names something twice"),
    ('pythons = ["3.11"]', 'pythons = "3.11"', r"pythons is '3.11'\. It must be of type list"),
    ('pythons = ["py3"]', 'pythons = ["3.11"]', r"A backend is for all: \['py3'\]"),
    ('backends = ["cuda"]', 'backends = ["openblas"]', r"llamasmith-cuda13 holds 'cuda' alone"),
    (
        'major = 13, toolkit = "13.0"',
        'major = 12, toolkit = "12.9"',
        r"cuda\.major is 12, but the distribution is llamasmith-cuda13",
    ),
    ('["90"]', '["9.0"]', r"cuda\.architectures has '9\.0'\. Allowed: '90'"),
    ('cuda = { major = 13, toolkit = "13.0", architectures = ["90"] }', "", r"the table cuda go together"),
    ('toolkit = "13.0"', 'toolkit = "12.9"', r"cuda\.toolkit is '12\.9'\. It must be a version of CUDA 13: '13\.0'"),
    ('exclude = ["libggml-base.so"]', "", r"exclude lacks 'libggml-base.so'"),
    ('with = ["cpu"]', 'with = ["cpus"]', r"with names 'cpus', which is no row\. Did you mean 'cpu'\?"),
    ('with = ["cpu"]', "", r"row 'cuda': with is empty"),
    ('arch = "x86_64"', 'arch = "x86-64"', r"arch is or has 'x86-64'\. Did you mean 'x86_64'"),
    ("[[row]]", "[[row", r"is not TOML"),
]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "matrix.toml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def test_a_good_one(written: Path) -> None:
    rows = load(written)
    assert list(rows) == ["cpu", "cuda"]
    assert rows["cpu"].definitions() == {
        "LLAMASMITH_CPU": "baseline",
        "LLAMASMITH_ENGINES": "patched",
        "LLAMASMITH_BACKENDS": "cpu",
    }
    assert rows["cuda"].definitions() == {"LLAMASMITH_CUDA_ARCHITECTURES": "90"}
    (define, requires) = rows["cuda"].settings()
    assert define == "cmake.define.LLAMASMITH_CUDA_ARCHITECTURES=90"
    assert requires.startswith("build.requires=nvidia-cuda-nvcc==13.0.*;nvidia-cuda-crt==13.0.*;")
    assert (rows["cpu"].folder, rows["cuda"].folder) == (".", "wheels/cuda13")
    assert [row.name for row in choose(rows, ["cuda"])] == ["cpu", "cuda"], "what a row is tested with comes first"


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_what_is_wrong_is_said(written: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    written.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(MatrixError, match=message):
        load(written)


def test_two_rows_that_would_release_one_wheel(written: Path) -> None:
    written.write_text(
        GOOD
        + GOOD[GOOD.index("[[row]]") :]
        .split("[[row]]")[1]
        .join(["[[row]]", ""])
        .replace('name = "cpu"', 'name = "other"'),
        encoding="utf-8",
    )
    with pytest.raises(MatrixError, match="the rows 'cpu' and 'other' both release llamasmith for x86_64"):
        load(written)


def test_a_row_that_is_not_there(written: Path) -> None:
    with pytest.raises(MatrixError, match=r"there is no row 'cuda12'\. Did you mean 'cuda'\? Rows: cpu, cuda"):
        choose(load(written), ["cuda12"])
    with pytest.raises(MatrixError, match="cannot be read"):
        load(written.parent / "none.toml")


def test_ours_promises_what_the_figures_say() -> None:
    rows = load()
    cores = [row for row in rows.values() if row.core and row.release]
    assert {row.arch for row in cores} == {"x86_64", "aarch64"}
    assert all(row.max_mb <= 25 for row in cores)
    assert rows["native"].max_mb <= 8
    assert rows["openblas-x86_64"].max_mb <= 1
    for row in rows.values():
        if row.cuda is not None and len(row.cuda.architectures) == 1:
            assert row.max_mb <= 60
        assert row.core == (row.distribution == CORE)


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--list"], 0, "cuda13-x86_64"),
        ([], 2, "name rows, or give --all or --list. Rows: cpu-x86_64"),
        (["cpu-x86"], 2, "there is no row 'cpu-x86'. Did you mean 'cpu-x86_64'?"),
        (["native", "--python", "2.7"], 2, "row 'native' is not for Python 2.7. Its Pythons: 3.10"),
        (["native", "--check", "nothing.whl"], 1, "nothing.whl cannot be read"),
        (["openblas-x86_64", "--check", "nothing.whl"], 2, "give --companions FOLDER"),
    ],
)
def test_the_command(words: list[str], status: int, message: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "ci" / "wheels.py"), *words]
    command += ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == status, said
    assert message in said


def test_the_package_here_is_one_that_a_row_could_make() -> None:
    """The words of the matrix are those of the build."""
    info = build_info()
    assert set(info.backends) <= {backend for row in load().values() for backend in row.backends}
