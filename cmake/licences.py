"""Gathers the licence of everything that is compiled into the package.

Texts are taken from where the code is taken from, so none of them is out of date. Called by Package.cmake.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

# Part of the CPU engines, by other authors than llama.cpp's, and with the licence in the source alone.
SGEMM = Path("ggml", "src", "ggml-cpu", "llamafile", "sgemm.cpp")
# Its headers, with which the extension reads JSON schemas.
JSON = Path("licenses", "LICENSE-jsonhpp")
PYBIND11_PLACES = ("pybind11-*.dist-info/**/LICENSE*", "pybind11-*.dist-info/**/COPYING*")
DEBIAN = Path("/usr/share/doc/pybind11-dev/copyright")


def head_comment(source: Path) -> str:
    """The comment that a source begins with, as text."""
    lines = []
    for line in source.read_text(encoding="utf-8").splitlines():
        if not line.startswith("//"):
            break
        lines.append(line[2:].removeprefix(" "))
    return "\n".join(lines).strip() + "\n"


def pybind11_licence(include: Path) -> Path | None:
    """Beside the package, if it came as a wheel; in Debian's place, if it came from there."""
    for pattern in PYBIND11_PLACES:
        for found in sorted(include.parent.parent.glob(pattern)):
            return found
    return DEBIAN if include.is_relative_to("/usr") and DEBIAN.is_file() else None


def gather(vendor: Path, pybind11: Path) -> dict[str, str]:
    """Name of the file -> text."""
    texts = {"llama.cpp.txt": (vendor / "LICENSE").read_text(encoding="utf-8")}
    notice = head_comment(vendor / SGEMM)
    if "Permission is hereby granted" not in notice:
        sys.exit(f"llamasmith: {SGEMM} no longer begins with its licence. Say in cmake/licences.py where it is.")
    texts["llamafile-sgemm.txt"] = notice
    texts["nlohmann-json.txt"] = (vendor / JSON).read_text(encoding="utf-8")
    licence = pybind11_licence(pybind11)
    if licence is None:
        print(f"llamasmith: no licence of pybind11 beside {pybind11}: the package lacks it", file=sys.stderr)
    else:
        texts["pybind11.txt"] = licence.read_text(encoding="utf-8")
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("vendor", "pybind11", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, text in gather(args.vendor, args.pybind11).items():
        target = args.out / name
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
