"""`python -m llamasmith.patchset`: what CMake calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from patch_house import COMMIT, CPU, GOOD, edit, write_files

from llamasmith.patchset import patched
from llamasmith.patchset.__main__ import main
from llamasmith.patchset.pin import Part, tree_listing
from llamasmith.patchset.series import load_series


def apply_args(house, *more):
    given = {"tree": house.tree, "series": house.series, "dest": house.dest, "manifest": house.root / "build/m.json"}
    return ["apply", *(word for name, value in given.items() for word in (f"--{name}", str(value))), *more]


def test_apply_writes_the_record(house, capsys):
    path = house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    write_files(
        house.root, {"mine.patch": GOOD.replace(b"x.c", b"LICENSE").replace(b"\n-1", b"\n-MIT"), "code/c.c": b"1"}
    )
    mine = house.root / "mine.patch"
    args = apply_args(house, "--extra", f"{mine}", "--skip", "", "--code-dir", str(house.root / "code"))
    assert main(args) == 0
    assert "2 patches applied" in capsys.readouterr().out
    facts = json.loads((house.root / "build/m.json").read_text())
    assert (facts["pin"], facts["tree_digest"], facts["skipped"]) == (COMMIT, house.pin.tree_digest, [])
    assert facts["patches"][0] == {
        "name": "topic-one.patch",
        "subject": "threading: wait otherwise",
        "scope": "cpu-engine",
        "sha256": tree_listing(path.parent, [path.name])[path.name],
        "origin": "series",
        "files": [f"{CPU}/a.c"],
        "changed_lines": 2,
    }
    assert [facts["patches"][1][key] for key in ("name", "origin", "scope")] == ["mine.patch", "extra", "core"]
    time = (house.root / "build/m.json").stat().st_mtime_ns
    assert main(args) == 0
    assert "in place, unchanged" in capsys.readouterr().out
    assert (house.root / "build/m.json").stat().st_mtime_ns == time


def test_the_series_digest_covers_order_bytes_and_code(house):
    first = house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    house.add("topic-two.patch", edit(f"{CPU}/b.c", b"two\r\n", b"2\r\n"))
    code = write_files(house.root / "code", {"c.c": b"1"})

    def digest():
        return patched.series_digest(house.pin, load_series(house.series), [code])

    seen = [digest()]
    house.list("topic-two.patch", "topic-one.patch")
    seen.append(digest())
    first.write_bytes(b"a word more\n" + first.read_bytes())
    seen.append(digest())
    write_files(code, {"c.c": b"2"})
    seen.append(digest())
    write_files(code, {"d.c": b""})
    seen.append(digest())
    assert len({*seen}) == 5
    assert digest() == seen[-1]


def test_an_error_is_one_message_and_status_1(house, capsys):
    assert main(apply_args(house, "--skip", "nothing-here")) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("llamasmith: cannot skip 'nothing-here'")
    assert "Traceback" not in captured.err


def test_digest_prints_what_the_pin_wants(house, capsys):
    assert main(["digest", "--tree", str(house.tree)]) == 0
    out = capsys.readouterr().out
    assert f'tree_digest = "{house.pin.tree_digest}"' in out
    part: Part = house.pin.parts["ggml"]
    assert f'"ggml" = {{ files = 3, digest = "{part.digest}" }}' in out


def test_it_needs_the_standard_library_only(house):
    """In the build neither the extension nor numpy, rich or typer exist."""
    if sys.version_info < (3, 11):
        pytest.skip("tomli is a package there")
    house.add("topic-one.patch", edit(f"{CPU}/a.c", b"line 3\n", b"x\n"))
    python = Path(__file__).resolve().parents[2] / "python"
    command = [sys.executable, "-S", "-m", "llamasmith.patchset", *apply_args(house)]
    env = {**os.environ, "PYTHONPATH": str(python), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
