"""Builds rows of ci/matrix.toml, and proves that each wheel is what its row says: ``python ci/wheels.py ROW...``.

From a source distribution of this tree: build, auditwheel, contents, licences, size, installation into an empty
environment without a compiler, a smoke test there. Needs the .venv of ci/test, or ``pip install ".[wheels]"``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.status import Status

sys.path.insert(0, str(Path(__file__).resolve().parent))

try:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from shipping.build import StepFailed, interpreters, make_sdist
    from shipping.matrix import MatrixError, Row, choose, load
    from shipping.work import Job, Outcome, make, prove, sdist_twice
except ImportError as error:
    own = Path(__file__).resolve().parents[1] / ".venv" / "bin" / "python"
    if own.is_file() and Path(sys.prefix).resolve() != own.parents[1].resolve():
        os.execv(own, [str(own), *sys.argv])  # the environment of ci/test has what is needed
    sys.exit(f"ci/wheels.py: {error.name} is not there. Run ci/test once, or: pip install '.[wheels]'")

ROOT = Path(__file__).resolve().parents[1]
SECONDS_BETWEEN_LINES = 60  # in a log, while a step goes on


def main() -> int:
    parser = argparse.ArgumentParser(prog="ci/wheels.py", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="names of rows; rows that they need are built as well")
    parser.add_argument("--list", action="store_true", help="show the rows, and build nothing")
    parser.add_argument(
        "--all", action="store_true", help="all rows that are released, for this machine's architecture"
    )
    parser.add_argument("--python", action="append", default=[], help="a version, or all of a row (default: this one)")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where wheels and sdist go (default: dist)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "wheels", help="where they are made")
    parser.add_argument(
        "--policy", default="", help="auditwheel's policy (default: the row's in its container, else auto)"
    )
    parser.add_argument(
        "--twice", action="store_true", help="build a second time, elsewhere: the bytes must be the same"
    )
    parser.add_argument("--check", nargs="+", type=Path, metavar="WHEEL", help="prove finished wheels of one row")
    parser.add_argument("--companions", type=Path, help="with --check: the folder with wheels that the row needs")
    options = parser.parse_args()
    options.work, options.out = options.work.resolve(), options.out.resolve()  # steps run in folders of their own
    console = Console(width=None if sys.stdout.isatty() else 150)
    try:
        rows = load()
        if options.list:
            console.print(listing(rows.values()))
            return 0
        names = options.rows or ([n for n, row in rows.items() if row.release and row.here] if options.all else [])
        if not names:
            parser.error(f"name rows, or give --all or --list. Rows: {', '.join(rows)}")
        chosen = choose(rows, names)
        if options.check:
            return check(console, rows[names[0]], options)
        for row in chosen:
            if not row.here:
                raise MatrixError(f"row {row.name!r} is for {row.arch}, which this machine is not.")
        return build(console, chosen, options)
    except (MatrixError, StepFailed) as error:
        print(f"ci/wheels.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nci/wheels.py: interrupted", file=sys.stderr)
        return 130


def build(console: Console, chosen: list[Row], options: argparse.Namespace) -> int:
    plan = [(row, version, path) for row in chosen for version, path in interpreters(row, options.python).items()]
    options.work.mkdir(parents=True, exist_ok=True)
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.work / "sdist.txt"
    log.unlink(missing_ok=True)
    outcomes: list[Outcome] = []
    with console.status("the source distribution") as status:
        say = speaker(console, status)
        sdist = make_sdist(options.work / "sdist", log)
        sdist = Path(sdist.replace(options.out / sdist.name))
        job = Job(options.work, options.out, sdist, options.policy, options.twice, say)
        wrong = sdist_twice(job, log) if options.twice else []
        made: dict[str, list[Path]] = {}
        for row, version, path in plan:
            outcome = make(row, version, path, job, made)
            outcomes.append(outcome)
            if outcome.wheel is not None and not outcome.failed:
                made.setdefault(row.name, []).append(outcome.wheel)
    failed = report(console, outcomes)
    for line in wrong:
        console.print(f"[bold red]{sdist.name}, made twice[/]: {escape(line)}")
    if options.twice and not wrong:
        console.print(f"{sdist.name}: made twice, the same bytes")
    return 1 if failed or wrong else 0


def speaker(console: Console, status: Status) -> Callable[[str], None]:
    """Says what is done now: on a terminal in one line that changes, in a log a line for each step and each minute."""
    last, printed_at = "", 0.0

    def say(what: str) -> None:
        nonlocal last, printed_at
        status.update(escape(what))
        step, now = what.partition(" compiling ")[0], time.monotonic()
        if not console.is_terminal and (step != last or now - printed_at >= SECONDS_BETWEEN_LINES):
            print(what, flush=True)
            printed_at = now
        last = step

    return say


def report(console: Console, outcomes: list[Outcome]) -> int:
    """The table, and why wheels failed; their number."""
    console.print(summary(outcomes))
    bad = [outcome for outcome in outcomes if outcome.failed]
    for outcome in bad:
        console.print(f"[bold red]{outcome.row.name}, {outcome.python}[/]: {escape(outcome.failed)}")
    console.print(f"{len(outcomes) - len(bad)} passed, {len(bad)} failed")
    return len(bad)


def summary(outcomes: list[Outcome]) -> Table:
    table = Table(title="Wheels", title_justify="left", show_edge=False)
    for heading in ("row", "Python", "MB", "of", "made in", "installed in", "first token", "model", "platform", ""):
        table.add_column(heading, justify="right" if heading in ("MB", "of", "made in") else "left")
    for outcome in outcomes:
        seen, wheel = outcome.seen, outcome.wheel
        table.add_row(
            outcome.row.name,
            outcome.python,
            f"{outcome.megabytes:.2f}" if wheel else "",
            f"{outcome.row.max_mb:g}",
            f"{outcome.seconds:.0f} s",
            f"{seen['install_seconds']:.1f} s" if "install_seconds" in seen else "",
            f"{seen['first_token_seconds']:.2f} s" if "first_token_seconds" in seen else "",
            seen.get("model", ""),
            wheel.name.removesuffix(".whl").split("-")[-1].split(".")[0] if wheel else "",
            "[bold red]failed[/]" if outcome.failed else "[green]ok, twice[/]" if seen.get("twice") else "[green]ok[/]",
        )
    return table


def listing(rows: Iterable[Row]) -> Table:
    table = Table(title="Rows of ci/matrix.toml", title_justify="left", show_edge=False)
    for heading in ("row", "distribution", "for", "Python", "CPU", "backends", "at most", "released"):
        table.add_column(heading)
    for row in rows:
        released = row.policy if row.release else "no"
        pythons = row.pythons[0] if len(row.pythons) == 1 else f"{row.pythons[0]} to {row.pythons[-1]}"
        cells = (row.name, row.distribution, row.arch, pythons, row.cpu, ", ".join(row.backends))
        table.add_row(*cells, f"{row.max_mb:g} MB", released)
    return table


def check(console: Console, row: Row, options: argparse.Namespace) -> int:
    """For wheels that were built elsewhere, as by cibuildwheel."""
    companions = sorted(options.companions.glob("*.whl")) if options.companions else []
    if row.companions and not companions:
        raise MatrixError(f"row {row.name!r} is tested with {', '.join(row.companions)}: give --companions FOLDER.")
    with console.status("") as status:
        job = Job(options.work, options.out, Path(), say=speaker(console, status))
        outcomes = [prove(row, wheel.resolve(), job, companions) for wheel in options.check]
    return 1 if report(console, outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
