"""wheels/cuda13: what it says agrees with the package that it belongs to. The build itself takes half an hour."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


ours, core = project(ROOT / "wheels" / "cuda13"), project(ROOT)


def test_it_has_the_version_of_the_package_and_needs_that_very_one() -> None:
    version = core["project"]["version"]
    assert ours["project"]["version"] == version
    assert f"llamasmith=={version}" in ours["project"]["dependencies"]
    assert ours["project"]["requires-python"] == core["project"]["requires-python"]


def test_it_is_built_by_the_same_tree_and_holds_nothing_but_the_backend() -> None:
    settings = ours["tool"]["scikit-build"]
    assert (ROOT / "wheels" / "cuda13" / settings["cmake"]["source-dir"]).resolve() == ROOT
    assert settings["install"]["components"] == ["backend-cuda"]
    assert settings["wheel"] == {"packages": [], "py-api": "py3"}
    assert settings["cmake"]["define"] == {"LLAMASMITH_BACKENDS": "cuda", "LLAMASMITH_CUDA_MAJOR": "13"}


def test_it_brings_the_libraries_that_it_needs() -> None:
    needs = ours["project"]["dependencies"]
    assert "nvidia-cublas>=13.0,<14" in needs
    assert "nvidia-cuda-runtime>=13.0,<14" in needs


def test_the_package_offers_it_as_an_extra() -> None:
    assert core["project"]["optional-dependencies"]["cuda13"] == [f"llamasmith-cuda13=={core['project']['version']}"]
