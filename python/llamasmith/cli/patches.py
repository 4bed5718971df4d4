"""``llamasmith patches``: look at the patch series, check it, and work on it."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ..errors import BuildError, LlamaError, PatchError
from ..patchset.checkout import Checkout, find_checkout
from ..patchset.series import load_series

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["app"]

app = typer.Typer(name="patches", no_args_is_help=True, help="The patch series on llama.cpp: list, check, write.")

Source = Annotated[
    Path | None,
    typer.Option("--source", help="Checkout of llamasmith; by default the current folder or one above it."),
]
Work = Annotated[
    Path | None, typer.Option("--work", help="The work copy; by default build/patches/NAME in the checkout.")
]


@app.command("list")
def list_(source: Source = None) -> None:
    """Show the patches of the checkout, or of the installed build when there is no checkout here."""
    checkout = find_checkout(source)
    if checkout is None:
        _list_installed()
        return
    patches = load_series(checkout.series)
    rows = ((one.name, one.scope, f"{one.changed_lines}", one.subject) for one in patches)
    _table(f"Series of {checkout.root}", ("Patch", "Scope", "Lines", "Subject"), rows)


@app.command()
def check(source: Source = None) -> None:
    """Check headers, names and sizes, and apply every prefix of the series. Exit status 1 on an error."""
    from ..patchset.check import check_series

    checkout = _checkout(source)
    tree = checkout.tree if checkout.tree.is_dir() else None
    console = _console()
    if tree is not None:
        checkout.workshop()  # refuses a tree that is not the pinned one
    with console.status("Checking the series") as status:
        findings = check_series(
            checkout.series,
            tree,
            checkout.pin,
            root=checkout.root,
            progress=lambda name: status.update(f"Checking {name}"),
        )
    for finding in findings:
        style = "red" if finding.level == "error" else "yellow"
        console.print(f"[{style}]{finding.level}[/] {finding.patch}", soft_wrap=True)
        console.print(f"  {finding.text}", markup=False, soft_wrap=True)
    if tree is None:
        console.print("Not applied: vendor/llama.cpp is not there. Fetch it with: python vendor/fetch.py")
    errors = sum(finding.level == "error" for finding in findings)
    console.print(f"{errors} errors, {len(findings) - errors} warnings")
    if errors or tree is None:
        raise typer.Exit(1)


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="<topic>-<change>, in lower case; a name of the series reopens it.")],
    work: Work = None,
    source: Source = None,
) -> None:
    """Make a copy of llama.cpp to edit, with the series applied up to this patch."""
    checkout = _checkout(source)
    folder = work or checkout.work(name)
    count = checkout.workshop().start(name, folder)
    console = _console()
    console.print(f"{folder}", markup=False, soft_wrap=True)
    what = f" --work {work}" if work else ""
    console.print(f"is llama.cpp with {count} of our patches. Edit it, then:", markup=False)
    console.print(f"  llamasmith patches export {name}{what}", markup=False, soft_wrap=True)


@app.command()
def export(
    name: Annotated[str | None, typer.Argument(help="The patch; without it, every patch is written anew.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit status 1 if bytes would change.")] = False,
    work: Work = None,
    source: Source = None,
) -> None:
    """Write a patch from its work copy, or the whole series anew in its one canonical form."""
    checkout = _checkout(source)
    workshop = checkout.workshop()
    folder = work or (checkout.work(name) if name else None)
    if name is None and work is not None:
        raise PatchError(f"which patch is {work} for? Name it: llamasmith patches export NAME --work {work}")
    if name is not None and folder is not None and (work is not None or folder.is_dir()):
        exported = [workshop.export(name, folder, datetime.date.today())]
    else:
        exported = workshop.regenerate(name)
    console = _console()
    changed = [one for one in exported if one.changed]
    for one in exported:
        verb = "unchanged" if not one.changed else "would change" if check else "written"
        console.print(f"{one.path.name}: {verb}", markup=False, soft_wrap=True)
        if one.changed and not check:
            workshop.write(one)
    if any(one.old is None for one in changed) and not check:
        console.print("It is new: fill in its header (the words in <>), then: llamasmith patches check", markup=False)
    if check and changed:
        raise typer.Exit(1)


def _console() -> Console:
    return Console(highlight=False)


def _checkout(source: Path | None) -> Checkout:
    checkout = find_checkout(source)
    if checkout is None:
        raise PatchError(f"no llamasmith checkout in {Path.cwd()} or above it; name one with --source")
    return checkout


def _table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column == "Lines" else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    _console().print(table)


def _list_installed() -> None:
    try:
        from .. import build_info

        patches: tuple[Any, ...] = build_info().patches
    except (ImportError, BuildError) as error:
        raise LlamaError(f"no checkout in {Path.cwd()} or above it, and no installed build: {error}") from error
    rows = ((one.name, one.scope, one.origin, one.subject) for one in patches)
    _table("Patches in the installed engine `patched`", ("Patch", "Scope", "Origin", "Subject"), rows)
