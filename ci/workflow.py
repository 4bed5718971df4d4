"""Writes .github/workflows/wheels.yml from ci/matrix.toml; ``--check`` only says whether that would change it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from shipping.matrix import ROOT, MatrixError, load
from shipping.workflow import text

TARGET = ROOT / ".github" / "workflows" / "wheels.yml"


def main() -> int:
    parser = argparse.ArgumentParser(prog="ci/workflow.py", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; status 1 if the file is not up to date")
    options = parser.parse_args()
    try:
        wanted = text(load().values())
    except MatrixError as error:
        print(f"ci/workflow.py: {error}", file=sys.stderr)
        return 2
    name = TARGET.relative_to(ROOT)
    if TARGET.is_file() and TARGET.read_text(encoding="utf-8") == wanted:
        print(f"{name} is up to date")
        return 0
    if options.check:
        print(f"{name} is not what ci/matrix.toml says. Write it anew: python ci/workflow.py", file=sys.stderr)
        return 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(wanted, encoding="utf-8")
    print(f"{name} is written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
