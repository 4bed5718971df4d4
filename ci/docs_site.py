#!/usr/bin/env python3
"""Builds the pages into build/site: strict, so that a dead link or anchor is an error; they need no network to be read.

    ci/docs                 # makes build/docs-venv if need be, builds, and looks for anything loaded from elsewhere
    ci/docs --external      # ... and prints the addresses of other sites that the pages link to, each with its pages

The environment has what the extra `docs` of pyproject.toml names. The package is not built for it: its docstrings are
read from the sources.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import venv
from html.parser import HTMLParser
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:  # this runs before anything is installed, but pip is there
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "build" / "docs-venv"
SITE = ROOT / "build" / "site"
# Attributes by which a browser loads something on its own.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
# ... but for these kinds of <link>, which are only told.
TOLD = {"canonical", "next", "prev", "alternate"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--external", action="store_true", help="print the addresses of other sites")
    args = parser.parse_args()
    make_environment(needed())
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # an advertisement of the theme's
    command = [str(VENV / "bin" / "mkdocs"), "build", "--strict", "--quiet"]
    built = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if built.returncode != 0:
        return built.returncode
    pages = {path: read(path) for path in sorted(SITE.rglob("*.html"))}
    foreign = [(page.relative_to(SITE), address) for page, of in pages.items() for address in of.loaded]
    for page, address in foreign:
        print(f"{page} loads {address}: without a network it cannot. Change the theme's settings.", file=sys.stderr)
    if args.external:
        print_external(pages)
    print(f"{len(pages)} pages: {SITE / 'index.html'}")
    return 1 if foreign else 0


def needed() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages: list[str] = project["optional-dependencies"]["docs"]
    return packages


def make_environment(packages: list[str]) -> None:
    """Made anew where it was made for other packages or another Python."""
    stamp = VENV / "made-for"
    wanted = hashlib.sha256(repr((packages, sys.version)).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    print(f"Making {VENV.relative_to(ROOT)}", flush=True)
    venv.create(VENV, clear=True, with_pip=True)
    subprocess.run([VENV / "bin" / "python", "-m", "pip", "install", "--quiet", *packages], check=True)
    stamp.write_text(wanted, encoding="utf-8")


class Page(HTMLParser):
    """What a page loads from other sites, and what it links to there."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        address = values.get(LOADED.get(tag, "")) or ""
        if is_foreign(address) and not (tag == "link" and values.get("rel") in TOLD):
            self.loaded.append(address)
        if tag == "a" and is_foreign(values.get("href") or ""):
            self.linked.append(values["href"] or "")


def is_foreign(address: str) -> bool:
    return address.startswith(("http:", "https:", "//"))


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def print_external(pages: dict[Path, Page]) -> None:
    found: dict[str, set[str]] = {}
    for path, page in pages.items():
        for address in page.linked:
            found.setdefault(address, set()).add(str(path.relative_to(SITE)))
    for address, places in sorted(found.items()):
        print(f"{address}  ({', '.join(sorted(places)[:3])}{', ...' if len(places) > 3 else ''})")


if __name__ == "__main__":
    sys.exit(main())
