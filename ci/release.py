"""Before anything is published: ``python ci/release.py check DIR [--tag v0.2.0]`` refuses what is no whole release."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from shipping.matrix import MatrixError, load
from shipping.release import refusals, version_of


def main() -> int:
    parser = argparse.ArgumentParser(prog="ci/release.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="status 1, and why, if the files of a folder must not be published")
    check.add_argument("folder", type=Path)
    check.add_argument("--tag", help="the tag that is published; it must be v and the version")
    commands.add_parser("version", help="print the version")
    options = parser.parse_args()
    if options.command == "version":
        print(version_of())
        return 0
    try:
        found = refusals(options.folder, load().values(), tag=options.tag)
    except MatrixError as error:
        print(f"ci/release.py: {error}", file=sys.stderr)
        return 2
    for sentence in found:
        print(f"- {sentence}.", file=sys.stderr)
    if found:
        print(f"ci/release.py: {len(found)} reasons not to publish {options.folder}", file=sys.stderr)
        return 1
    print(f"{options.folder} holds all of {version_of()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
