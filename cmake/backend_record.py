"""Writes ``backend.json``: what a backend is and what it fits to. Called by Backends.cmake, read by
``llamasmith.backend_files``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from abi import digest


def pairs(words: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("name", "library", "pyproject", "patchset", "ggml", "compiler", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--needs", action="append", default=[], help="SONAME=how to install it")
    parser.add_argument("--facts", action="append", default=[], help="KEY=VALUE")
    args = parser.parse_args()

    patchset = json.loads(Path(args.patchset).read_text(encoding="utf-8"))
    project = tomllib.loads(Path(args.pyproject).read_text(encoding="utf-8"))["project"]
    record = {
        "name": args.name,
        "version": project["version"],
        "library": args.library,
        "pin": patchset["pin"],
        "tree_digest": patchset["tree_digest"],
        "series_digest": patchset["series_digest"],
        "abi": digest(Path(args.ggml)),
        "needs": pairs(args.needs),
        "built": {"compiler": args.compiler, **pairs(args.facts)},
    }
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record, indent=2) + "\n"
    # An unchanged record keeps its time stamp, so that nothing is installed anew.
    if not out.is_file() or out.read_text(encoding="utf-8") != text:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
