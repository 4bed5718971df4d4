"""The reference pages show every public name of the package, and nothing that is not there."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

import llamasmith

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))
SHOWN = {name for page in PAGES for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)}
INTERNAL: dict[str, str] = tomllib.loads((ROOT / "ci" / "internal_modules.toml").read_text(encoding="utf-8"))[
    "internal"
]
HOW = "Add a line '::: {}' to a page of docs/reference, or the module to ci/internal_modules.toml."


def public_modules() -> set[str]:
    """Modules and packages of the source tree that say what they export."""
    folder = ROOT / "python" / "llamasmith"
    files = [*folder.glob("[!_]*.py"), *folder.glob("[!_]*/__init__.py")]
    return {
        file.parent.name if file.name == "__init__.py" else file.stem
        for file in files
        if re.search(r"^__all__", file.read_text(encoding="utf-8"), re.MULTILINE)
    }


def test_every_module_is_decided() -> None:
    for module in public_modules():
        shown, internal = f"llamasmith.{module}" in SHOWN, module in INTERNAL
        assert shown or internal, f"llamasmith.{module} is on no page. {HOW.format(f'llamasmith.{module}')}"
        assert not (shown and internal), f"llamasmith.{module} is on a page, and internal too."
    gone = set(INTERNAL) - public_modules()
    assert not gone, f"ci/internal_modules.toml names modules that do not exist: {gone}"


@pytest.mark.parametrize("name", [name for name in llamasmith.__all__ if name != "errors"])
def test_every_name_is_shown(name: str) -> None:
    home = llamasmith.errors if name == "LlamaError" else import_module(f"llamasmith.{llamasmith._HOME[name]}")
    assert home.__name__ in SHOWN, f"{name} is on no page. {HOW.format(home.__name__)}"
    assert name in home.__all__


def test_pages_show_what_exists() -> None:
    for name in SHOWN:
        assert import_module(name).__doc__, f"{name} has no docstring."
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    index = (ROOT / "docs" / "reference" / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert f"reference/{page.name}" in navigation, f"{page.name} is not in mkdocs.yml."
        assert page.name == "index.md" or f"({page.name})" in index, f"{page.name} is not in docs/reference/index.md."
