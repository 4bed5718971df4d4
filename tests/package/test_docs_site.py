"""The pages: built strictly, whole, and readable without a network."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from scripts import load_script

ROOT = Path(__file__).resolve().parents[2]
docs_site = load_script(ROOT / "ci" / "docs_site.py")


def test_what_a_page_loads(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        '<link rel="stylesheet" href="https://fonts.example/a.css"><link rel="canonical" href="https://us.example/">'
        '<script src="//cdn.example/x.js"></script><img src="here.png"><a href="https://other.example/">there</a>',
        encoding="utf-8",
    )
    found = docs_site.read(page)
    assert found.loaded == ["https://fonts.example/a.css", "//cdn.example/x.js"]
    assert found.linked == ["https://other.example/"]


def test_the_site() -> None:
    if not (docs_site.VENV / "made-for").is_file():
        pytest.skip("The pages are built in an environment of their own, made by: ci/docs")
    built = subprocess.run([ROOT / "ci" / "docs"], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    text = (docs_site.SITE / "reference" / "session.html").read_text(encoding="utf-8")
    for anchor in ("llamasmith.session.Session", "llamasmith.session.Session.generate"):
        assert f'id="{anchor}"' in text
    assert "memory_breakdown" in (docs_site.SITE / "reference" / "core.html").read_text(encoding="utf-8")
