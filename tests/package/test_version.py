"""The version is written in one place, the pyproject.toml at the top; whatever else says it takes it from there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import llamasmith

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BACKENDS = sorted(path.parent for path in ROOT.glob("wheels/*/pyproject.toml"))


def test_all_that_is_installed_says_the_same() -> None:
    version = PROJECT["version"]
    assert llamasmith.__version__ == metadata.version("llamasmith") == llamasmith.build_info().version == version
    done = subprocess.run(
        [sys.executable, "-m", "llamasmith", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    said = json.loads(done.stdout)
    assert said["version"] == version
    assert said["build"] == llamasmith.build_info().asdict(), "the doctor shows what build_info() knows"


@pytest.mark.parametrize("folder", BACKENDS, ids=lambda path: str(path.name))
def test_a_backend_takes_it_from_there(folder: Path) -> None:
    text = (folder / "pyproject.toml").read_text(encoding="utf-8")
    backend = tomllib.loads(text)
    own = backend["project"]
    if "version" not in own.get("dynamic", []):
        assert own["version"] == PROJECT["version"]
    for word in own.get("dependencies", []):
        if word.startswith("llamasmith"):
            assert word == f"llamasmith=={PROJECT['version']}"


def test_extras_ask_for_the_backend_of_this_version() -> None:
    for extra, words in PROJECT["optional-dependencies"].items():
        for word in words:
            if word.startswith("llamasmith-"):
                assert word == f"llamasmith-{extra}=={PROJECT['version']}"


def test_the_changes_lead_to_it() -> None:
    """What is not released is on top; a version that has a heading has a date."""
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    released = [re.fullmatch(r"\[?(\d+\.\d+\.\d+)\]? - \d{4}-\d{2}-\d{2}", heading) for heading in headings[1:]]
    assert None not in released
    versions = [tuple(map(int, found[1].split("."))) for found in released if found]
    assert versions == sorted(versions, reverse=True)
    assert tuple(map(int, PROJECT["version"].split("."))) >= max(versions, default=(0,))
