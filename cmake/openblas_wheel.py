"""Prints where the wheel ``scipy-openblas32`` of this Python lies: include folder, library, version, a line each.

Found without importing it, which would load the library. Exits with 1 if it is not there.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    spec = find_spec("scipy_openblas32")
    if spec is None or spec.origin is None:
        sys.exit(1)
    folder = Path(spec.origin).parent
    library = next(iter(sorted((folder / "lib").glob("libscipy_openblas*.so"))), None)
    if library is None or not (folder / "include" / "cblas.h").is_file():
        sys.exit(1)
    print(folder / "include", library, version("scipy-openblas32"), sep="\n")


if __name__ == "__main__":
    main()
