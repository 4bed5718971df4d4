"""``python -m llamasmith.patchset``: what CMake calls. People use ``llamasmith patches``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LlamaError
from .patched import make_copy, manifest, write_manifest
from .pin import digest_of, load_pin, parts_of, tree_listing
from .series import load_series, select

if TYPE_CHECKING:
    from collections.abc import Sequence


def _say(line: str) -> None:
    sys.stdout.write(f"llamasmith: {line}\n")


def _list(text: str) -> list[str]:
    return [item.strip() for item in text.split(";") if item.strip()]  # a CMake list


def _apply(options: argparse.Namespace) -> None:
    pin = load_pin(options.pin or options.tree.parent / "UPSTREAM.toml")
    selection = select(load_series(options.series), skip=options.skip, extra=[Path(path) for path in options.extra])
    changed = make_copy(options.tree, pin, selection, options.dest, _say)
    facts = manifest(pin, selection, options.code_dir)
    if options.manifest:
        write_manifest(options.manifest, facts)
    count = len(selection.patches)
    what = f"{count} {'patch' if count == 1 else 'patches'}"
    left_out = f", left out: {', '.join(selection.skipped)}" if selection.skipped else ""
    _say(f"{what} {'applied' if changed else 'in place, unchanged'}{left_out} (series {facts['series_digest'][:12]})")


def _digest(options: argparse.Namespace) -> None:
    pin = load_pin(options.pin or options.tree.parent / "UPSTREAM.toml", tests=options.tests, vocabs=options.vocabs)
    listing = tree_listing(options.tree, pin.subset)
    table = "tests.parts" if options.tests else "vocabs.parts" if options.vocabs else "parts"
    sys.stdout.write(f'tree_digest = "{digest_of(listing)}"\n\n[{table}]\n')
    for name, part in parts_of(listing, pin.subset).items():
        sys.stdout.write(f'"{name}" = {{ files = {part.files}, digest = "{part.digest}" }}\n')


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m llamasmith.patchset", description="Apply the patch series.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    apply = commands.add_parser("apply", help="make the patched copy of the pinned tree")
    apply.add_argument("--tree", type=Path, required=True, help="the pinned llama.cpp")
    apply.add_argument("--series", type=Path, required=True, help="the series file, its patches beside it")
    apply.add_argument("--dest", type=Path, required=True, help="the copy; only what differs in it is written")
    apply.add_argument("--extra", type=_list, default=[], help="further patch files, separated by semicolons")
    apply.add_argument("--skip", type=_list, default=[], help="names of the series to leave out, likewise")
    apply.add_argument("--code-dir", type=Path, action="append", default=[], help="our code that the patches call")
    apply.add_argument("--manifest", type=Path, help="write the record of the patches here, as JSON")
    apply.set_defaults(run=_apply)

    digest = commands.add_parser("digest", help="print a tree's digest in the form of UPSTREAM.toml")
    digest.add_argument("--tree", type=Path, required=True)
    digest.add_argument("--tests", action="store_true", help="of upstream's tests that we build, not of the tree")
    digest.add_argument("--vocabs", action="store_true", help="of upstream's vocabularies, not of the tree")
    digest.set_defaults(run=_digest)
    for command in (apply, digest):
        command.add_argument("--pin", type=Path, help="default: UPSTREAM.toml beside the tree")

    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except (LlamaError, OSError) as error:
        sys.stdout.flush()
        sys.stderr.write(f"llamasmith: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
