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
FOLDER = ROOT / "wheels" / "cuda13"


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


ours, core = project(FOLDER), project(ROOT)
settings = ours["tool"]["scikit-build"]


def test_it_has_the_version_of_the_package_and_needs_that_very_one() -> None:
    assert settings["metadata"]["version"]["input"] == "../../pyproject.toml"
    needs = settings["metadata"]["dependencies"]["result"]
    assert needs == ["llamasmith=={project[version]}", "nvidia-cublas>=13.0,<14", "nvidia-cuda-runtime>=13.0,<14"]
    assert ours["project"]["requires-python"] == core["project"]["requires-python"]


def test_it_is_built_by_the_same_tree_and_holds_nothing_but_the_backend() -> None:
    assert (FOLDER / settings["cmake"]["source-dir"]).resolve() == ROOT
    assert settings["cmake"]["define"] == {"LLAMASMITH_BACKENDS": "cuda", "LLAMASMITH_CUDA_MAJOR": "13"}
    assert settings["install"]["components"] == ["backend-cuda"]
    assert settings["wheel"] == {"packages": ["llamasmith_cuda13"], "py-api": "py3", "reproducible": True}


def test_it_is_found_by_its_entry_point() -> None:
    (package,) = ours["project"]["entry-points"]["llamasmith.backends"].values()
    assert (FOLDER / package / "__init__.py").is_file()


def test_the_package_offers_it_as_an_extra() -> None:
    assert core["project"]["optional-dependencies"]["cuda13"] == [f"llamasmith-cuda13=={core['project']['version']}"]
