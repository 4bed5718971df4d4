"""Writes ``build.json``: what this build is. Called by Package.cmake, read by ``llamasmith.build_info()``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from abi import digest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("patchset", "options", "ggml", "backends", "compiler", "build-type", "flags", "tools", "out"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()

    patchset = json.loads(Path(args.patchset).read_text(encoding="utf-8"))
    options = json.loads(Path(args.options).read_text(encoding="utf-8"))
    flags = [*args.flags.split(), *options.pop("engine_flags")]
    folders = Path(args.backends)
    backends = {
        name: json.loads((folders / name / "backend.json").read_text(encoding="utf-8"))["built"]
        for name in options["backends"]
        if name != "cpu"
    }
    record = {
        **patchset,
        **options,
        "backends_built": backends,
        "abi": digest(Path(args.ggml)),
        "compiler": {"name": args.compiler, "build_type": args.build_type, "engine_flags": " ".join(flags)},
        "tools": [tool for tool in args.tools.split(";") if tool],
    }
    text = json.dumps(record, indent=2) + "\n"
    out = Path(args.out)
    # An unchanged record keeps its time stamp, so that nothing is installed anew.
    if not out.is_file() or out.read_text(encoding="utf-8") != text:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
